package database

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drp/orchestrator/agent/home"
)

// loaderPrefix begins the names of the logins that load. No account's user has such a name.
const loaderPrefix = "drp_load_"

// loaderOf is the login that loads a database: always the same one, so that a crash leaves one behind and not many.
func loaderOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return loaderPrefix + hex.EncodeToString(sum[:8])
}

// pgLoading is one load of one database.
type pgLoading struct {
	*postgresql
	name   string
	record *pgRecord
	admin  login
	loader login
	conn   *pgx.Conn // of the administrator, to the maintenance database
}

func (p *postgresql) load(ctx context.Context, name string, own []string, raw []byte, sql io.Reader, ids home.IDs) (err error) {
	record, err := readPgRecord(raw)
	if err != nil {
		return err
	}
	l := &pgLoading{postgresql: p, name: name, record: record, loader: login{loaderOf(name), rand.Text()}}
	if l.admin, err = p.administrator(); err != nil {
		return err
	}
	if l.conn, err = p.connect(ctx, l.admin, maintenance); err != nil {
		return err
	}
	defer l.conn.Close(context.WithoutCancel(ctx))
	if record.Owner == "" { // it was the platform's; nobody can log in as the one that it gets
		record.Owner = name
		if !record.has(name) {
			record.Roles = append(record.Roles, pgRole{Name: name, Inherit: true, Connections: -1})
		}
	}
	if _, err := l.conn.Exec(ctx, "drop database if exists "+pgName(name)+" with (force)"); err != nil {
		return fmt.Errorf("remove the database that is in the way: %w", err)
	}
	for _, role := range record.Roles {
		if err := l.makeRole(ctx, role, own); err != nil {
			return fmt.Errorf("role %s: %w", role.Name, err)
		}
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	if err := l.extensions(ctx); err != nil {
		return err
	}
	err = child{
		program: p.at.program("psql"), args: []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse", "--no-password", "-f", "-"}, says: "psql:",
		env: p.environment(l.loader, name), stdin: foreignLeftOut(sql, record), stdout: io.Discard, inside: &ids,
	}.run(ctx)
	if err != nil {
		return err
	}
	if err := l.settings(ctx); err != nil {
		return err
	}
	return l.end(ctx)
}

// makeRole makes a role as it was. One that is there already has to be the account's own: nothing of it may be in a
// database of another.
func (l *pgLoading) makeRole(ctx context.Context, role pgRole, own []string) error {
	var platform bool
	var elsewhere []string
	err := l.conn.QueryRow(ctx, `select rolsuper or rolreplication or rolbypassrls or rolcreaterole or rolname = any($3), array(
			select distinct coalesce(datname::text, 'the whole engine') from pg_shdepend
			left join pg_database d on d.oid = case when dbid = 0 and classid = 'pg_database'::regclass then objid else dbid end
			where refclassid = 'pg_authid'::regclass and refobjid = a.oid and classid <> 'pg_auth_members'::regclass and (datname is null or datname <> all($2))
			union select 'role ' || r.rolname from pg_auth_members join pg_roles r on r.oid = roleid where member = a.oid and r.rolname <> all($4)
				and not (exists (select from pg_shdepend join pg_database d on d.oid = case when dbid = 0 and classid = 'pg_database'::regclass then objid else dbid end where refclassid = 'pg_authid'::regclass and refobjid = r.oid and datname = any($2))
					and not exists (select from pg_shdepend left join pg_database d on d.oid = case when dbid = 0 and classid = 'pg_database'::regclass then objid else dbid end where refclassid = 'pg_authid'::regclass and refobjid = r.oid
						and classid <> 'pg_auth_members'::regclass and (datname is null or datname <> all($2)))))
		from pg_authid a where rolname = $1`, role.Name, own, append([]string{l.at.User}, l.at.Platform...), l.record.names()).Scan(&platform, &elsewhere)
	verb := "alter"
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		verb = "create"
	case err != nil:
		return err
	case platform:
		return errors.New("on this server that is a user of the platform")
	case len(elsewhere) > 0:
		return fmt.Errorf("on this server that is somebody else's: it has to do with %s. Names of roles have to differ on the whole platform; rename one of them", strings.Join(elsewhere, ", "))
	}
	is := func(yes bool, word string) string {
		if yes {
			return " " + word
		}
		return " no" + word
	}
	text := verb + " role " + pgName(role.Name) + " with nosuperuser nocreatedb nocreaterole noreplication nobypassrls" +
		is(role.Login, "login") + is(role.Inherit, "inherit") + fmt.Sprintf(" connection limit %d", role.Connections)
	if role.Password != "" {
		text += " password " + pgText(role.Password)
	} else {
		text += " password null"
	}
	if role.ValidUntil != "" {
		text += " valid until " + pgText(role.ValidUntil)
	} else if verb == "alter" {
		text += " valid until 'infinity'"
	}
	_, err = l.conn.Exec(ctx, text)
	return err
}

// begin makes the empty database, and the login that loads it: a member of the account's roles, and nothing else.
func (l *pgLoading) begin(ctx context.Context) error {
	locale := " lc_collate " + pgText(l.record.Collate) + " lc_ctype " + pgText(l.record.CType)
	if l.record.ICULocale != "" {
		locale += " locale_provider icu icu_locale " + pgText(l.record.ICULocale)
	}
	roles := make([]string, len(l.record.Roles))
	for i, r := range l.record.Roles {
		roles[i] = pgName(r.Name)
	}
	statements := []string{"drop role if exists " + pgName(l.loader.user)}
	for _, m := range l.record.Members {
		text := "grant " + pgName(m.Role) + " to " + pgName(m.Member)
		if m.Admin {
			text += " with admin option"
		}
		statements = append(statements, text)
	}
	statements = append(statements,
		"create database "+pgName(l.name)+" template template0 encoding "+pgText(l.record.Encoding)+locale+" owner "+pgName(l.record.Owner),
		"create role "+pgName(l.loader.user)+" login inherit password "+pgText(l.loader.password)+" in role "+strings.Join(roles, ", "))
	for _, s := range statements {
		if _, err := l.conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("make database %s: %w", l.name, err)
		}
	}
	return nil
}

// extensions are made by the administrator, who alone may make some. They are those that this server has: a dump only
// names them.
func (l *pgLoading) extensions(ctx context.Context) error {
	if len(l.record.Extensions) == 0 {
		return nil
	}
	conn, err := l.connect(ctx, l.admin, l.name)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, e := range l.record.Extensions {
		owner := e.Owner
		if !l.record.has(owner) {
			owner = l.record.Owner
		}
		if !ownSchema(e.Schema) {
			if _, err := conn.Exec(ctx, "create schema if not exists "+pgName(e.Schema)+" authorization "+pgName(owner)); err != nil {
				return fmt.Errorf("make schema %s: %w", e.Schema, err)
			}
		}
		if _, err := conn.Exec(ctx, "create extension if not exists "+pgName(e.Name)+" with schema "+pgName(e.Schema)); err != nil {
			return fmt.Errorf("make extension %s: %w", e.Name, err)
		}
	}
	return nil
}

// ownSchema tells of the schemas that each new database has.
func ownSchema(name string) bool { return name == "public" || strings.HasPrefix(name, "pg_") }

// listSettings hold lists of quoted names, as PostgreSQL itself writes them.
var listSettings = map[string]bool{"local_preload_libraries": true, "search_path": true, "session_preload_libraries": true,
	"shared_preload_libraries": true, "temp_tablespaces": true, "unix_socket_directories": true}

// settings are made by each role itself: a setting that it may not make is left out, and told.
func (l *pgLoading) settings(ctx context.Context) error {
	if len(l.record.Settings) == 0 {
		return nil
	}
	conn, err := l.connect(ctx, l.loader, l.name)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, s := range l.record.Settings {
		as, what := s.Role, "role "+pgName(s.Role)
		if s.Role == "" {
			as, what = l.record.Owner, "database "+pgName(l.name)
		} else if s.Database {
			what += " in database " + pgName(l.name)
		}
		value := pgText(s.Value)
		if listSettings[s.Name] {
			value = s.Value
		}
		_, err := conn.Exec(ctx, "set role "+pgName(as))
		if err == nil {
			_, err = conn.Exec(ctx, "alter "+what+" set "+settingName(s.Name)+" to "+value)
		}
		var refused *pgconn.PgError
		switch {
		case errors.As(err, &refused) && refused.Code == "42501": // insufficient_privilege
			l.log.Warn("a setting of a database was the platform's, and is left out", "database", l.name, "role", s.Role, "setting", s.Name)
		case err != nil:
			return fmt.Errorf("set %s of %s: %w", s.Name, what, err)
		}
		if _, err := conn.Exec(ctx, "reset role"); err != nil {
			return err
		}
	}
	return nil
}

// settingName quotes what may be in two parts.
func settingName(s string) string {
	parts := strings.Split(s, ".")
	for i := range parts {
		parts[i] = pgName(parts[i])
	}
	return strings.Join(parts, ".")
}

// end takes the loader away, and lets in whom the database let in.
func (l *pgLoading) end(ctx context.Context) error {
	conn, err := l.connect(ctx, l.admin, l.name)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	statements := []string{
		"reassign owned by " + pgName(l.loader.user) + " to " + pgName(l.record.Owner),
		"drop owned by " + pgName(l.loader.user),
		"drop role " + pgName(l.loader.user),
		fmt.Sprintf("alter database %s connection limit %d", pgName(l.name), l.record.Connections),
	}
	if l.record.Rights != nil {
		statements = append(statements, "revoke all on database "+pgName(l.name)+" from public", "revoke all on database "+pgName(l.name)+" from "+pgName(l.record.Owner))
	}
	for _, r := range l.record.Rights {
		text := "grant " + r.Privilege + " on database " + pgName(l.name) + " to "
		if r.To == "" {
			text += "public"
		} else {
			text += pgName(r.To)
		}
		if r.Grantable {
			text += " with grant option"
		}
		statements = append(statements, text)
	}
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("finish database %s: %w", l.name, err)
		}
	}
	return nil
}
