package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// myRecord is NAME.json of a database of MariaDB. Users with rights beyond databases are the platform's, and not in it.
type myRecord struct {
	Format   int         `json:"format"`
	Charset  string      `json:"charset"`
	Collate  string      `json:"collate"`
	Users    []myUser    `json:"users,omitempty"`
	Members  []myMember  `json:"members,omitempty"`
	Grants   []myGrant   `json:"grants,omitempty"`
	Definers []myDefiner `json:"definers,omitempty"`
}

// myAccount is a user, or with an empty host a role.
type myAccount struct {
	User string `json:"user"`
	Host string `json:"host,omitempty"`
}

func (a myAccount) sql() string {
	if a.Host == "" {
		return myName(a.User)
	}
	return myName(a.User) + "@" + myName(a.Host)
}

type myUser struct {
	myAccount
	Role        bool   `json:"role,omitempty"`
	Plugin      string `json:"plugin,omitempty"`
	Hash        string `json:"hash,omitempty"`
	Locked      bool   `json:"locked,omitempty"`
	Connections int    `json:"connections,omitempty"` // most at a time; 0: no limit
	DefaultRole string `json:"default_role,omitempty"`
}

type myMember struct {
	Role   string    `json:"role"`
	Member myAccount `json:"member"`
	Admin  bool      `json:"admin,omitempty"`
}

// myGrant is what one account may do with the database, or with one thing in it.
type myGrant struct {
	To         myAccount `json:"to"`
	Kind       string    `json:"kind,omitempty"` // empty: the database; TABLE, FUNCTION, PROCEDURE …
	Name       string    `json:"name,omitempty"`
	Column     string    `json:"column,omitempty"`
	Privileges []string  `json:"privileges"`
	Grantable  bool      `json:"grantable,omitempty"`

	pattern string // as this engine has it; a record has the database's own name
}

type myDefiner struct {
	Kind string    `json:"kind"` // VIEW, FUNCTION, PROCEDURE, TRIGGER, EVENT
	Name string    `json:"name"`
	By   myAccount `json:"by"`
}

// myPrivileges are those that can be given on a database or on what is in it.
var myPrivileges = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "INDEX", "ALTER", "CREATE TEMPORARY TABLES",
	"LOCK TABLES", "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "EXECUTE", "EVENT", "TRIGGER", "DELETE HISTORY", "SHOW CREATE ROUTINE"}

// otherwise named are columns and set members of the grant tables that are not called what GRANT calls them.
var otherwiseNamed = map[string]string{"CREATE TMP TABLE": "CREATE TEMPORARY TABLES", "DELETE VERSIONING ROWS": "DELETE HISTORY"}

func privilegeOf(word string) string {
	word = strings.ToUpper(strings.ReplaceAll(word, "_", " "))
	if name, ok := otherwiseNamed[word]; ok {
		return name
	}
	return word
}

// covers tells whether the pattern of a grant is for this database, and not for all.
func covers(pattern, name string) bool {
	if plain := strings.NewReplacer(`\_`, `_`, `\%`, `%`).Replace(pattern); plain == name {
		return true
	}
	var form strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			i++
			form.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '%' && i == 0:
			return false // the platform's: such a user is no account's
		case c == '%':
			form.WriteString(".*")
		case c == '_':
			form.WriteString(".")
		default:
			form.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return regexp.MustCompile("^" + form.String() + "$").MatchString(name)
}

func (m *mariadb) describe(ctx context.Context, s session, name string) (*myRecord, error) {
	r := &myRecord{Format: recordFormat}
	err := s.each(ctx, func(_, v []string) error { r.Charset, r.Collate = v[0], v[1]; return nil },
		"select default_character_set_name, default_collation_name from information_schema.schemata where schema_name = ?", name)
	if err == nil && r.Charset == "" {
		err = errors.New("there is no such database")
	}
	if err != nil {
		return nil, err
	}
	grants, err := m.grants(ctx, s, name)
	if err != nil {
		return nil, err
	}
	definers, err := m.definers(ctx, s, name)
	if err != nil {
		return nil, err
	}
	all, err := m.users(ctx, s)
	if err != nil {
		return nil, err
	}
	wanted := map[myAccount]bool{}
	for _, g := range grants {
		wanted[g.To] = true
	}
	for _, d := range definers {
		wanted[d.By] = true
	}
	members, err := m.members(ctx, s)
	if err != nil {
		return nil, err
	}
	for range members { // members of members, at most that deep
		for _, x := range members {
			if wanted[myAccount{User: x.Role}] {
				wanted[x.Member] = true
			}
		}
	}
	for _, u := range all {
		if wanted[u.myAccount] && !u.platform {
			if err := u.portable(); err != nil {
				return nil, err
			}
			r.Users = append(r.Users, u.myUser)
		}
	}
	for i := range r.Users {
		if u := &r.Users[i]; !r.has(myAccount{User: u.DefaultRole}) {
			u.DefaultRole = "" // it has nothing to do with this database
		}
	}
	r.Grants = slices.DeleteFunc(grants, func(g myGrant) bool { return !r.has(g.To) })
	r.Members = slices.DeleteFunc(members, func(x myMember) bool { return !r.has(myAccount{User: x.Role}) || !r.has(x.Member) })
	r.Definers = slices.DeleteFunc(definers, func(d myDefiner) bool { return !r.has(d.By) })
	return r, nil
}

func (r *myRecord) has(a myAccount) bool {
	return slices.ContainsFunc(r.Users, func(u myUser) bool { return u.myAccount == a })
}

// foundUser is a user of the engine.
type foundUser struct {
	myUser
	platform bool // it has rights beyond databases, or the configuration says so
}

var myHashes = map[string]*regexp.Regexp{
	"":                      regexp.MustCompile(`^$`),
	"mysql_native_password": regexp.MustCompile(`^(\*[0-9A-F]{40})?$`),
	"ed25519":               regexp.MustCompile(`^[A-Za-z0-9+/]{43}$`),
}

// portable says why a user could not log in elsewhere as it does here.
func (u myUser) portable() error {
	if form := myHashes[u.Plugin]; form == nil || !form.MatchString(u.Hash) {
		return fmt.Errorf("user %s logs in by %s, which cannot be taken to another server: give it a password, or name it in platform_users", u.sql(), u.Plugin)
	}
	return nil
}

func (m *mariadb) users(ctx context.Context, s session) ([]foundUser, error) {
	var all []foundUser
	err := s.each(ctx, func(_, v []string) error {
		var p struct {
			Access      json.Number     `json:"access"`
			Plugin      string          `json:"plugin"`
			Hash        string          `json:"authentication_string"`
			Or          json.RawMessage `json:"auth_or"`
			Role        bool            `json:"is_role"`
			Locked      bool            `json:"account_locked"`
			Connections int             `json:"max_user_connections"`
			DefaultRole string          `json:"default_role"`
		}
		if err := json.Unmarshal([]byte(v[2]), &p); err != nil {
			return fmt.Errorf("read user %s: %w", v[0], err)
		}
		if p.Or != nil {
			p.Plugin = "several ways"
		}
		account := myAccount{v[0], v[1]}
		all = append(all, foundUser{myUser{account, p.Role, p.Plugin, p.Hash, p.Locked, p.Connections, p.DefaultRole},
			p.Access != "" && p.Access != "0" || account.User == m.at.User || slices.Contains(m.at.Platform, account.User)})
		return nil
	}, "select user, host, priv from mysql.global_priv order by user, host")
	return all, err
}

func (m *mariadb) members(ctx context.Context, s session) ([]myMember, error) {
	var all []myMember
	err := s.each(ctx, func(_, v []string) error {
		all = append(all, myMember{v[2], myAccount{v[0], v[1]}, v[3] == "Y"})
		return nil
	}, "select user, host, role, admin_option from mysql.roles_mapping order by role, user, host")
	return all, err
}

// grants are all on a database or on something in it.
func (m *mariadb) grants(ctx context.Context, s session, name string) ([]myGrant, error) {
	var all []myGrant
	err := s.each(ctx, func(columns, v []string) error {
		g := myGrant{}
		for i, c := range columns {
			switch c = strings.ToLower(c); {
			case c == "host":
				g.To.Host = v[i]
			case c == "user":
				g.To.User = v[i]
			case c == "db":
				g.pattern = v[i]
			case c == "grant_priv":
				g.Grantable = v[i] == "Y"
			case strings.HasSuffix(c, "_priv") && v[i] == "Y":
				g.Privileges = append(g.Privileges, privilegeOf(strings.TrimSuffix(c, "_priv")))
			}
		}
		if covers(g.pattern, name) {
			all = append(all, g)
		}
		return nil
	}, "select * from mysql.db order by user, host, db")
	if err != nil {
		return nil, err
	}
	finer := func(query string) error {
		return s.each(ctx, func(_, v []string) error {
			g := myGrant{To: myAccount{v[0], v[1]}, Kind: v[2], Name: v[3], Column: v[4]}
			for word := range strings.SplitSeq(v[5], ",") {
				if word == "Grant" {
					g.Grantable = true
				} else if word != "" {
					g.Privileges = append(g.Privileges, privilegeOf(word))
				}
			}
			if len(g.Privileges) > 0 || g.Grantable {
				all = append(all, g)
			}
			return nil
		}, query, name)
	}
	return all, errors.Join(
		finer("select user, host, 'TABLE', table_name, '', table_priv from mysql.tables_priv where db = ? order by 1, 2, 4"),
		finer("select user, host, 'TABLE', table_name, column_name, column_priv from mysql.columns_priv where db = ? order by 1, 2, 4, 5"),
		finer("select user, host, routine_type, routine_name, '', proc_priv from mysql.procs_priv where db = ? order by 1, 2, 3, 4"))
}

// definers tells whose name each thing that runs was made in.
func (m *mariadb) definers(ctx context.Context, s session, name string) ([]myDefiner, error) {
	var all []myDefiner
	err := s.each(ctx, func(_, v []string) error {
		by := myAccount{User: v[2]}
		if at := strings.LastIndex(v[2], "@"); at >= 0 {
			by = myAccount{v[2][:at], v[2][at+1:]}
		}
		all = append(all, myDefiner{v[0], v[1], by})
		return nil
	}, `select 'VIEW', table_name, definer from information_schema.views where table_schema = ? union all
		select routine_type, routine_name, definer from information_schema.routines where routine_schema = ? union all
		(select 'TRIGGER', trigger_name, definer from information_schema.triggers where trigger_schema = ?
			order by event_object_table, action_timing, event_manipulation, action_order limit 100000000) union all
		select 'EVENT', event_name, definer from information_schema.events where event_schema = ?`, name, name, name, name)
	return all, err
}

// readMyRecord reads a record that anybody may have written.
func readMyRecord(raw []byte) (*myRecord, error) {
	r := new(myRecord)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("read the database's record: %w", err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("the database's record is of format %d, and this drp reads %d", r.Format, recordFormat)
	}
	for _, u := range r.Users {
		if u.User == "" || u.Role != (u.Host == "") || strings.HasPrefix(u.User, loaderPrefix) || strings.EqualFold(u.User, "public") {
			return nil, fmt.Errorf("the database's record names a user %s", u.sql())
		}
		if err := u.portable(); err != nil {
			return nil, fmt.Errorf("the database's record: %w", err)
		}
		if u.DefaultRole != "" && !r.has(myAccount{User: u.DefaultRole}) {
			return nil, fmt.Errorf("the database's record gives %s the role %q", u.sql(), u.DefaultRole)
		}
	}
	for _, x := range r.Members {
		if !r.has(myAccount{User: x.Role}) || !r.has(x.Member) {
			return nil, fmt.Errorf("the database's record makes %s a member of %q", x.Member.sql(), x.Role)
		}
	}
	for _, g := range r.Grants {
		if !r.has(g.To) {
			return nil, fmt.Errorf("the database's record gives rights to %s, which it does not describe", g.To.sql())
		}
		if !slices.Contains([]string{"", "TABLE", "FUNCTION", "PROCEDURE"}, g.Kind) {
			return nil, fmt.Errorf("the database's record gives rights on a %q", g.Kind)
		}
		for _, p := range g.Privileges {
			if !slices.Contains(myPrivileges, p) {
				return nil, fmt.Errorf("the database's record gives %q", p)
			}
		}
	}
	return r, nil
}
