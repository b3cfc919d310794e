package database

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// pgRecord is NAME.json of a database of PostgreSQL. Whatever the platform gives, and not the account, is not in it:
// superusers, the right to make databases or roles, memberships in roles of others.
type pgRecord struct {
	Format      int           `json:"format"`
	Owner       string        `json:"owner,omitempty"` // empty: the platform's
	Encoding    string        `json:"encoding"`
	Collate     string        `json:"collate"`
	CType       string        `json:"ctype"`
	ICULocale   string        `json:"icu_locale,omitempty"`
	Connections int           `json:"connections"` // most at a time; -1: no limit
	Roles       []pgRole      `json:"roles,omitempty"`
	Members     []pgMember    `json:"members,omitempty"`
	Settings    []pgSetting   `json:"settings,omitempty"`
	Extensions  []pgExtension `json:"extensions,omitempty"`
	// Rights on the database itself. Nil: those of a new one.
	Rights []pgRight `json:"rights,omitempty"`
}

// recordFormat is the version of NAME.json.
const recordFormat = 1

type pgRole struct {
	Name        string `json:"name"`
	Login       bool   `json:"login,omitempty"`
	Inherit     bool   `json:"inherit,omitempty"`
	Connections int    `json:"connections"`
	Password    string `json:"password,omitempty"` // hashed
	ValidUntil  string `json:"valid_until,omitempty"`
}

type pgMember struct {
	Role   string `json:"role"`
	Member string `json:"member"`
	Admin  bool   `json:"admin,omitempty"`
}

// pgSetting is one line of ALTER ROLE or ALTER DATABASE … SET.
type pgSetting struct {
	Role     string `json:"role,omitempty"`     // empty: of the database
	Database bool   `json:"database,omitempty"` // of the role in this database alone
	Name     string `json:"name"`
	Value    string `json:"value"`
}

type pgExtension struct {
	Name   string `json:"name"`
	Schema string `json:"schema"`
	Owner  string `json:"owner,omitempty"` // of the schema
}

type pgRight struct {
	To        string `json:"to,omitempty"` // empty: everybody
	Privilege string `json:"privilege"`
	Grantable bool   `json:"grantable,omitempty"`
}

// accountRoles are the roles that own something in the present database or have a right in it, and their members: all but the
// platform's.
const accountRoles = `
with recursive here as (select oid, datdba from pg_database where datname = current_database()),
named(oid) as (
	select refobjid from pg_shdepend, here
	where refclassid = 'pg_authid'::regclass and (dbid = here.oid or dbid = 0 and classid = 'pg_database'::regclass and objid = here.oid)
	union select datdba from here
	union select m.member from pg_auth_members m join named on m.roleid = named.oid
)
select a.oid from pg_authid a join named using (oid)
where not (a.rolsuper or a.rolreplication or a.rolbypassrls or a.rolcreaterole) and a.rolname !~ '^pg_' and a.rolname <> all($1)`

func (p *postgresql) describe(ctx context.Context, conn *pgx.Conn) (*pgRecord, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	r := &pgRecord{Format: recordFormat}
	platform := append([]string{p.at.User}, p.at.Platform...)
	var roles []uint32
	if err := collect(ctx, tx, &roles, accountRoles, platform); err != nil {
		return nil, err
	}
	// Columns of later versions are read by name, out of JSON.
	err = tx.QueryRow(ctx, `select coalesce((select rolname::text from pg_roles where oid = datdba and oid = any($1)), ''), pg_encoding_to_char(encoding),
		datcollate::text, datctype::text, case when to_jsonb(d)->>'datlocprovider' = 'i' then coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', '') else '' end,
		datconnlimit from pg_database d where datname = current_database()`, roles).
		Scan(&r.Owner, &r.Encoding, &r.Collate, &r.CType, &r.ICULocale, &r.Connections)
	if err != nil {
		return nil, err
	}
	for _, q := range []struct {
		into  any
		query string
	}{
		{&r.Roles, `select jsonb_build_object('name', rolname, 'login', rolcanlogin, 'inherit', rolinherit, 'connections', rolconnlimit,
			'password', coalesce(rolpassword, ''), 'valid_until', coalesce(rolvaliduntil::text, '')) from pg_authid where oid = any($1) order by rolname`},
		{&r.Members, `select jsonb_build_object('role', r.rolname, 'member', m.rolname, 'admin', bool_or(admin_option)) from pg_auth_members
			join pg_roles r on r.oid = roleid join pg_roles m on m.oid = member where roleid = any($1) and member = any($1) group by r.rolname, m.rolname order by r.rolname, m.rolname`},
		{&r.Settings, `select jsonb_build_object('role', coalesce(r.rolname, ''), 'database', setrole <> 0 and setdatabase <> 0,
			'name', split_part(c, '=', 1), 'value', substr(c, strpos(c, '=') + 1))
			from pg_db_role_setting left join pg_roles r on r.oid = setrole, unnest(setconfig) with ordinality u(c, n)
			where setdatabase in (0, (select oid from pg_database where datname = current_database())) and (setrole = any($1) or setrole = 0 and setdatabase <> 0)
			order by r.rolname nulls first, setdatabase, n`},
		{&r.Extensions, `select jsonb_build_object('name', extname, 'schema', nspname, 'owner', coalesce((select rolname from pg_roles where oid = nspowner and oid = any($1)), ''))
			from pg_extension join pg_namespace n on n.oid = extnamespace where extname <> 'plpgsql' order by pg_extension.oid`},
		{&r.Rights, `select jsonb_build_object('to', coalesce(r.rolname, ''), 'privilege', privilege_type, 'grantable', bool_or(is_grantable))
			from pg_database, aclexplode(datacl) left join pg_roles r on r.oid = grantee
			where datname = current_database() and (grantee = 0 or grantee = any($1)) group by r.rolname, privilege_type order by r.rolname nulls first, privilege_type`},
	} {
		if err := collectJSON(ctx, tx, q.into, q.query, roles); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func collect[T any](ctx context.Context, tx pgx.Tx, into *[]T, query string, args ...any) error {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	*into, err = pgx.CollectRows(rows, pgx.RowTo[T])
	return err
}

func collectJSON(ctx context.Context, tx pgx.Tx, into any, query string, args ...any) error {
	var objects []json.RawMessage
	if err := collect(ctx, tx, &objects, query, args...); err != nil {
		return err
	}
	if len(objects) == 0 {
		return nil
	}
	raw, err := json.Marshal(objects)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

var pgHash = regexp.MustCompile(`^(SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+|md5[0-9a-f]{32})$`)

// readPgRecord reads a record that anybody may have written.
func readPgRecord(raw []byte) (*pgRecord, error) {
	r := new(pgRecord)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("read the database's record: %w", err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("the database's record is of format %d, and this drp reads %d", r.Format, recordFormat)
	}
	for _, role := range r.Roles {
		switch {
		case role.Name == "" || role.Name == "public" || role.Name == "none" || strings.HasPrefix(role.Name, "pg_") || strings.HasPrefix(role.Name, loaderPrefix):
			return nil, fmt.Errorf("the database's record names a role %q", role.Name)
		case role.Password != "" && !pgHash.MatchString(role.Password):
			return nil, fmt.Errorf("the password of role %q is not hashed in a way that is known", role.Name)
		}
	}
	for _, right := range r.Rights {
		if !slices.Contains([]string{"CONNECT", "CREATE", "TEMPORARY"}, right.Privilege) || right.To != "" && !r.has(right.To) {
			return nil, fmt.Errorf("the database's record gives %q to %q", right.Privilege, right.To)
		}
	}
	for _, m := range r.Members {
		if !r.has(m.Role) || !r.has(m.Member) {
			return nil, fmt.Errorf("the database's record makes %q a member of %q", m.Member, m.Role)
		}
	}
	if r.Owner != "" && !r.has(r.Owner) {
		return nil, fmt.Errorf("the database's record does not describe its owner %q", r.Owner)
	}
	return r, nil
}

func (r *pgRecord) names() []string {
	names := make([]string, len(r.Roles))
	for i, role := range r.Roles {
		names[i] = role.Name
	}
	return names
}

// has tells whether a role is the account's.
func (r *pgRecord) has(role string) bool {
	return slices.ContainsFunc(r.Roles, func(x pgRole) bool { return x.Name == role })
}
