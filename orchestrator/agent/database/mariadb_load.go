package database

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"

	"drp/orchestrator/agent/home"
)

// myLoading is one load of one database.
type myLoading struct {
	*mariadb
	session
	name   string
	record *myRecord
	loader myAccount
}

func (m *mariadb) load(ctx context.Context, name string, own []string, raw []byte, sql io.Reader, ids home.IDs) error {
	record, err := readMyRecord(raw)
	if err != nil {
		return err
	}
	s, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	l := &myLoading{m, s, name, record, myAccount{loaderOf(name), "localhost"}}
	if m.at.Host != "" {
		l.loader.Host = "%"
	}
	before, err := m.grants(ctx, s, name)
	if err != nil {
		return err
	}
	found, err := m.users(ctx, s)
	if err != nil {
		return err
	}
	for _, u := range record.Users {
		if err := l.makeUser(ctx, u, found, own, before); err != nil {
			return fmt.Errorf("user %s: %w", u.sql(), err)
		}
	}
	password := rand.Text()
	err = s.do(ctx,
		"drop database if exists "+myName(name),
		"create database "+myName(name)+" character set "+myText(record.Charset)+" collate "+myText(record.Collate),
		"create or replace user "+l.loader.sql()+" identified by "+myText(password),
		"grant all on "+myPattern(name)+".* to "+l.loader.sql())
	if err != nil {
		return fmt.Errorf("make database %s: %w", name, err)
	}
	// Sandbox: the client itself then runs no program and reads no file, whatever the dump says.
	err = child{
		program: m.at.program("mariadb"), args: append(m.arguments(l.loader.User), "--sandbox", "--batch", "--database="+name),
		env: []string{"MYSQL_PWD=" + password}, stdin: definersLeftOut(sql), stdout: io.Discard, inside: &ids, says: "ERROR ",
	}.run(ctx)
	if err != nil {
		return err
	}
	if err := l.giveDefiners(ctx); err != nil {
		return err
	}
	if err := l.grant(ctx); err != nil {
		return err
	}
	return s.do(ctx, "drop user "+l.loader.sql())
}

// makeUser makes a user as it was, without any right yet. One that is there already has to be the account's own.
func (l *myLoading) makeUser(ctx context.Context, u myUser, found []foundUser, own []string, before []myGrant) error {
	verb := "create"
	if i := slices.IndexFunc(found, func(f foundUser) bool { return f.myAccount == u.myAccount }); i >= 0 {
		verb = "alter"
		if found[i].platform || found[i].Role != u.Role {
			return fmt.Errorf("on this server that is a user of the platform, or of another kind")
		}
		elsewhere, err := l.elsewhere(ctx, u.myAccount, own)
		if err != nil {
			return err
		}
		if len(elsewhere) > 0 {
			return fmt.Errorf("on this server that is somebody else's: it has to do with %s. Names of users have to differ on the whole platform; rename one of them", strings.Join(elsewhere, ", "))
		}
		for _, g := range before {
			if g.To == u.myAccount {
				if err := l.do(ctx, l.grantText(g, "revoke", " from ")); err != nil {
					return err
				}
			}
		}
	}
	if u.Role {
		return l.do(ctx, "create role if not exists "+u.sql())
	}
	text := verb + " user " + u.sql() + " identified via " + myName(u.Plugin)
	if u.Plugin == "" {
		text = verb + " user " + u.sql() + " identified via mysql_native_password"
	}
	lock := " account unlock"
	if u.Locked {
		lock = " account lock"
	}
	return l.do(ctx, text+" using "+myText(u.Hash)+fmt.Sprintf(" with max_user_connections %d", u.Connections)+lock)
}

// elsewhere is what a user has to do with beside the account's databases, and its users.
func (l *myLoading) elsewhere(ctx context.Context, a myAccount, own []string) ([]string, error) {
	all, _, err := l.databasesOf(ctx, a, own)
	if err != nil {
		return nil, err
	}
	members, err := l.members(ctx, l.session)
	for _, x := range members {
		role := myAccount{User: x.Role}
		if x.Member != a || l.record.has(role) {
			continue
		}
		// It may have to do with another database of the account.
		others, ours, err := l.databasesOf(ctx, role, own)
		if err != nil {
			return nil, err
		}
		if len(others) > 0 || !ours {
			all = append(all, "role "+x.Role)
		}
	}
	return all, err
}

// databasesOf are the databases that a user or role has to do with and that are not the account's; ours tells whether there
// is one of the account's.
func (l *myLoading) databasesOf(ctx context.Context, a myAccount, own []string) (all []string, ours bool, err error) {
	err = l.each(ctx, func(_, v []string) error {
		if slices.ContainsFunc(own, func(name string) bool { return covers(v[0], name) }) {
			ours = true
		} else if !slices.Contains(all, v[0]) {
			all = append(all, v[0])
		}
		return nil
	}, `select db from mysql.db where user = ? and host = ? union select db from mysql.tables_priv where user = ? and host = ?
		union select db from mysql.columns_priv where user = ? and host = ? union select db from mysql.procs_priv where user = ? and host = ?
		union select table_schema from information_schema.views where definer = concat(?, '@', ?)
		union select routine_schema from information_schema.routines where definer = concat(?, '@', ?)
		union select trigger_schema from information_schema.triggers where definer = concat(?, '@', ?)
		union select event_schema from information_schema.events where definer = concat(?, '@', ?)`,
		a.User, a.Host, a.User, a.Host, a.User, a.Host, a.User, a.Host, a.User, a.Host, a.User, a.Host, a.User, a.Host, a.User, a.Host)
	return all, ours, err
}

// grantText gives a right, or takes it.
func (l *myLoading) grantText(g myGrant, verb, to string) string {
	column := ""
	if g.Column != "" {
		column = " (" + myName(g.Column) + ")"
	}
	list := strings.Join(g.Privileges, column+", ") + column
	if list == "" {
		list = "usage"
	}
	on := myPattern(l.name) + ".*"
	if g.pattern != "" {
		on = myName(g.pattern) + ".*"
	}
	if g.Kind != "" {
		on = g.Kind + " " + myName(l.name) + "." + myName(g.Name)
	}
	if verb == "revoke" && g.Grantable {
		list += ", grant option"
	}
	text := verb + " " + list + " on " + on + to + g.To.sql()
	if verb == "grant" && g.Grantable {
		text += " with grant option"
	}
	return text
}

func (l *myLoading) grant(ctx context.Context) error {
	var statements []string
	for _, g := range l.record.Grants {
		statements = append(statements, l.grantText(g, "grant", " to "))
	}
	for _, x := range l.record.Members {
		text := "grant " + myName(x.Role) + " to " + x.Member.sql()
		if x.Admin {
			text += " with admin option"
		}
		statements = append(statements, text)
	}
	for _, u := range l.record.Users {
		if u.DefaultRole != "" {
			statements = append(statements, "set default role "+myName(u.DefaultRole)+" for "+u.sql())
		}
	}
	for _, text := range statements {
		if err := l.do(ctx, text); err != nil {
			return fmt.Errorf("give the users of database %s their rights: %w", l.name, err)
		}
	}
	return nil
}

// giveDefiners gives what runs in the database back to whom it was made by. The loader made it all, for nobody else may
// be named without a right that reaches beyond the account. Its texts come from this engine by now, one statement each,
// and making them runs none of it.
func (l *myLoading) giveDefiners(ctx context.Context) error {
	made, err := l.definers(ctx, l.session, l.name)
	if err != nil || len(made) == 0 {
		return err
	}
	owner, err := l.owner(ctx)
	if err != nil {
		return err
	}
	if err := l.do(ctx, "use "+myName(l.name)); err != nil {
		return err
	}
	for _, d := range made {
		by := owner
		for _, before := range l.record.Definers {
			if before.Kind == d.Kind && before.Name == d.Name && l.record.has(before.By) {
				by = before.By
			}
		}
		if err := l.redefine(ctx, d, by); err != nil {
			return fmt.Errorf("make %s %s again as of %s: %w", strings.ToLower(d.Kind), d.Name, by.sql(), err)
		}
	}
	return nil
}

// owner is whose that becomes which the platform made: the user with most rights on the database. Where there is
// none, one that nobody can log in as.
func (l *myLoading) owner(ctx context.Context) (myAccount, error) {
	var best myAccount
	most := -1
	for _, g := range l.record.Grants {
		if g.Kind == "" && g.To.Host != "" && len(g.Privileges) > most {
			best, most = g.To, len(g.Privileges)
		}
	}
	if most >= 0 {
		return best, nil
	}
	for _, u := range l.record.Users {
		if !u.Role {
			return u.myAccount, nil
		}
	}
	nobody := myAccount{l.name, "localhost"}
	l.record.Users = append(l.record.Users, myUser{myAccount: nobody})
	l.record.Grants = append(l.record.Grants, myGrant{To: nobody, Privileges: slices.Clone(myPrivileges[:19])})
	return nobody, l.do(ctx, "create user if not exists "+nobody.sql()+" account lock")
}

// redefine makes one thing again, by another. What it says stays, byte by byte, in the character set that it was written in.
func (l *myLoading) redefine(ctx context.Context, d myDefiner, by myAccount) error {
	show := "show create " + d.Kind + " " + myName(d.Name)
	var text, mode, zone, charset, collation string
	read := func() error {
		return l.each(ctx, func(columns, v []string) error {
			for i, c := range columns {
				switch strings.ToLower(c) {
				case "sql_mode":
					mode = v[i]
				case "time_zone":
					zone = v[i]
				case "character_set_client":
					charset = v[i]
				case "collation_connection":
					collation = v[i]
				case "sql original statement", "create " + strings.ToLower(d.Kind):
					text = v[i]
				}
			}
			return nil
		}, show)
	}
	if err := l.do(ctx, "set sql_mode = ''", "set names utf8mb4"); err != nil {
		return err
	}
	if err := read(); err != nil {
		return err
	}
	if err := l.do(ctx, "set names "+myText(charset)+" collate "+myText(collation)); err != nil {
		return err
	}
	if err := read(); err != nil { // now in that character set
		return err
	}
	before, after, ok := strings.Cut(text, "DEFINER="+l.loader.sql())
	if !ok || !strings.HasPrefix(before, "CREATE ") {
		return fmt.Errorf("it is not the loader's: %.80q", text)
	}
	statements := []string{"set sql_mode = " + myText(mode)}
	if zone != "" {
		statements = append(statements, "set time_zone = "+myText(zone))
	}
	return l.do(ctx, append(statements, "CREATE OR REPLACE "+strings.TrimPrefix(before, "CREATE ")+"DEFINER="+by.sql()+after)...)
}
