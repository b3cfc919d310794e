package database_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"drp/orchestrator/agent/database"
	"drp/orchestrator/agent/database/databasetest"
	"drp/raftstore/state"
)

var (
	shop  = state.Database{Engine: state.PostgreSQL, Name: "shop"}
	stats = state.Database{Engine: state.PostgreSQL, Name: "stats"}
	mine  = []state.Database{shop, stats}
)

func onPostgreSQL(t *testing.T, e *databasetest.Engine, platform ...string) *database.Engines {
	s := e.Server
	s.Platform = platform
	return engines(t, database.Config{PostgreSQL: &s})
}

// awkward is what a database may hold and a restore must not fall over.
const awkward = `
create role app login password 'app''s' connection limit 7;
create role reader login noinherit password 'r' valid until '2031-02-03 04:05:06+00';
create role writers;
create role "odd ""one""" login;
create role monitoring login password 'm';
grant writers to app with admin option; grant writers to reader;
alter role app set work_mem = '9MB'; alter role app set search_path = app, public;
create database shop owner app encoding 'UTF8' lc_collate 'C' lc_ctype 'C.UTF-8' template template0 connection limit 12;
alter role reader in database shop set statement_timeout = '7s';
alter database shop set datestyle = 'ISO, DMY';
revoke all on database shop from public; grant connect on database shop to reader; grant connect, temp on database shop to writers with grant option;
\c shop
create schema ext authorization app; create extension pgcrypto schema ext; create extension citext; create extension file_fdw;
set role app;
create schema app; revoke create on schema public from public; grant usage on schema app to reader;
create function app.positive(n numeric) returns boolean language plpgsql as $f$
begin
-- Name: evil; Type: EVENT TRIGGER; Schema: -; Owner: admin
  if current_user <> 'app' and exists (select from pg_roles where rolname = current_user and rolsuper) then raise 'run by a superuser'; end if;
  return n >= -1000000;
end $f$;
create table app.accounts (id int primary key, balance numeric not null check (app.positive(balance)), email ext_citext_or_text);
`

func TestPostgreSQL(t *testing.T) {
	from, to := databasetest.PostgreSQL(t), databasetest.PostgreSQL(t)
	from.PSQL("postgres", strings.ReplaceAll(awkward, "ext_citext_or_text", "citext")+`
insert into app.accounts select i, 100, 'User' || i || '@Example.org' from generate_series(1, 100) i;
create table app.texts (id serial primary key, t text, j jsonb, b bytea, a int[]);
insert into app.texts (t, j, b, a) values (E'\\.\n-- Name: x; Type: EXTENSION; Schema: -; Owner: \n', '{"a": [1, null]}', '\x00ff', '{1,null,3}'),
	(E'COPY x FROM stdin;\n\\! touch /tmp/never\nALTER TABLE app.texts OWNER TO admin;', null, null, null), ('é 😀 '';--', null, null, null), (repeat('x', 300000), null, null, null);
create index on app.texts (md5(t));
create view app.rich as select id from app.accounts where balance > 10;
create materialized view app.totals as select sum(balance) from app.accounts;
create function app.note() returns trigger language plpgsql security definer as $$ begin new.j = '{"touched": true}'; return new; end $$;
create trigger touched before update on app.texts for each row execute function app.note();
alter table app.texts enable row level security; create policy few on app.texts for select to reader using (id < 3);
grant select on app.texts to reader with grant option; grant select (id) on app.accounts to writers; grant all on app.texts to "odd ""one""";
alter default privileges for role app in schema app grant select on tables to reader;
comment on table app.texts is 'what people wrote';
grant usage, create on schema app to writers; create table app.ours (x int); alter table app.ours owner to writers;
select lo_from_bytea(4711, '\xdeadbeef'); grant select on large object 4711 to reader;
set role reader; grant select on app.texts to writers; reset role;
grant select on app.accounts to monitoring;
alter database shop set log_statement = 'all';
create table public.platforms (x int); insert into public.platforms values (1); grant select on public.platforms to app; alter default privileges grant select on tables to app;
create function public.loud() returns event_trigger language plpgsql as $$ begin end $$; create event trigger loud on ddl_command_end execute function public.loud();
`)
	to.PSQL("postgres", "create role monitoring login")
	dir := scratch(t)
	from.PSQL("postgres", "create database stats owner app")
	for _, d := range mine {
		if err := onPostgreSQL(t, from, "monitoring").Dump(t.Context(), d, dir, os.Getuid()); err != nil {
			t.Fatal(err)
		}
	}
	target := onPostgreSQL(t, to, "monitoring")
	if there, err := target.Exists(t.Context(), shop); there || err != nil {
		t.Errorf("exists before: %v, %v", there, err)
	}
	for _, d := range []state.Database{shop, stats, shop} { // what is in the way is replaced
		if err := target.Load(t.Context(), d, mine, dir, ids); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := target.Exists(t.Context(), shop); !there || err != nil {
		t.Errorf("exists after: %v, %v", there, err)
	}
	// What was the platform's, and is not carried over or belongs to the account now.
	from.PSQL("shop", `drop event trigger loud; alter function public.loud() owner to app; alter table public.platforms owner to app;
		revoke select on public.platforms from app; grant select on public.platforms to app; alter default privileges revoke select on tables from app; alter database shop reset log_statement`)
	same(t, pgText(t, from), pgText(t, to))
	if got := to.PSQL("postgres", "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolname !~ '^pg_'"); got != `admin app monitoring odd "one" reader writers` {
		t.Errorf("roles = %s", got)
	}
	for _, e := range []*databasetest.Engine{from, to} {
		conn, err := pgx.Connect(t.Context(), "host="+e.Socket+" dbname=shop user=app password='app\\'s'")
		if err != nil {
			t.Errorf("log in with the old password: %v", err)
			continue
		}
		conn.Close(t.Context())
	}
}

// pgText is all that there is to a database, as PostgreSQL's own programs tell it.
func pgText(t *testing.T, e *databasetest.Engine) string {
	t.Helper()
	env := []string{"PGHOST=" + e.Socket, "PGUSER=admin", "PGPASSWORD=" + databasetest.Password, "PATH=/usr/bin:/bin"}
	var all string
	for _, args := range [][]string{{"pg_dump", "--create", "shop"}, {"pg_dumpall", "--roles-only"}} {
		cmd := exec.Command(filepath.Join(e.Programs, args[0]), args[1:]...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		all += string(out)
	}
	all = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`).ReplaceAllString(all, "")
	all = regexp.MustCompile(`(?m)^(CREATE|ALTER) ROLE (admin|monitoring).*$`).ReplaceAllString(all, "")
	all = strings.ReplaceAll(all, " VALID UNTIL 'infinity'", "") // the same as none
	return regexp.MustCompile(` GRANTED BY \S+;`).ReplaceAllString(all, ";")
}

func TestPostgreSQL_WrittenDuringTheDump(t *testing.T) {
	from, to := databasetest.PostgreSQL(t), databasetest.PostgreSQL(t)
	from.PSQL("postgres", `create role app login password 'x'; create database shop owner app;
\c shop
set role app; create table accounts (id int primary key, balance int not null, filler text);
create table transfers (id serial primary key, amount int);
insert into accounts select i, 1000, repeat('x', 500) from generate_series(1, 20000) i`)
	conn, err := pgx.Connect(t.Context(), "host="+from.Socket+" dbname=shop user=app password=x")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	bank{shop, mine, onPostgreSQL(t, from), onPostgreSQL(t, to), func(loser, winner int) error {
		_, err := conn.Exec(context.Background(), fmt.Sprintf(`begin; update accounts set balance = balance - 7 where id = %d;
			update accounts set balance = balance + 7 where id = %d; insert into transfers (amount) values (7); commit`, loser, winner))
		return err
	}, func(sql string) string { return from.PSQL("shop", sql) }, func(sql string) string { return to.PSQL("shop", sql) }}.dumpsOneMoment(t)
}

func TestPostgreSQL_DumpFails(t *testing.T) {
	from := databasetest.PostgreSQL(t)
	from.PSQL("postgres", "create database shop")
	t.Run("no such database", func(t *testing.T) {
		dir := scratch(t)
		err := onPostgreSQL(t, from).Dump(t.Context(), state.Database{Engine: state.PostgreSQL, Name: "other"}, dir, 0)
		wantError(t, err, `database "other" does not exist`, dir)
	})
	t.Run("wrong rights", func(t *testing.T) {
		from.PSQL("postgres", "create role weak login password 'weak'")
		dir := scratch(t)
		wantError(t, engines(t, database.Config{PostgreSQL: as(t, from, "weak", "weak")}).Dump(t.Context(), shop, dir, 0), "permission denied for table pg_authid", dir)
	})
	t.Run("wrong password", func(t *testing.T) {
		dir := scratch(t)
		err := engines(t, database.Config{PostgreSQL: as(t, from, "admin", "secret-guess")}).Dump(t.Context(), shop, dir, 0)
		wantError(t, err, "password authentication failed", dir)
		if strings.Contains(err.Error(), "secret-guess") {
			t.Errorf("the password is in %v", err)
		}
	})
	t.Run("no engine in the configuration", func(t *testing.T) {
		dir := scratch(t)
		wantError(t, engines(t, database.Config{}).Dump(t.Context(), shop, dir, 0), "knows of no postgresql", dir)
	})
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		because := errors.New("no longer wanted")
		cancel(because)
		dir := scratch(t)
		if err := onPostgreSQL(t, from).Dump(ctx, shop, dir, 0); err == nil {
			t.Error("it went on")
		}
	})
	t.Run("the engine goes in the middle", func(t *testing.T) {
		from.PSQL("shop", "create table t as select i, repeat(md5(i::text), 30) from generate_series(1, 50000) i")
		base := t.TempDir()
		dir, err := os.OpenRoot(base)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		// The dump waits for a table that another session has for itself; then the engine dies.
		conn, err := pgx.Connect(t.Context(), "host="+from.Socket+" dbname=shop user=admin password='"+strings.ReplaceAll(databasetest.Password, "'", `\'`)+"'")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "begin; lock table t in access exclusive mode"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- onPostgreSQL(t, from).Dump(t.Context(), shop, dir, 0) }()
		for {
			var waiting bool
			if err := conn.QueryRow(t.Context(), "select exists (select from pg_locks where not granted)").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
			if waiting {
				break
			}
		}
		from.Stop()
		wantError(t, <-ended, "pg_dump", dir)
	})
}

// Whoever wrote the snapshot, what it says runs with the rights of the account's own users, as nobody on this machine.
func TestPostgreSQL_HostileDump(t *testing.T) {
	to := databasetest.PostgreSQL(t)
	to.PSQL("postgres", "create role other login password 'o'; create database others owner other; create role idle login; grant other to idle; create role chief superuser")
	const record = `{"format":1,"owner":"app","encoding":"UTF8","collate":"C","ctype":"C","connections":-1,"roles":[{"name":"app","inherit":true,"login":true,"connections":-1}]}`
	marks, err := os.MkdirTemp("", "drp-marks-") // and not below t.TempDir, where nobody else gets in
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(marks)
	if err := os.Chmod(marks, 0o777); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, onPostgreSQL(t, to), shop, mine, map[string]lie{
		"becomes a superuser":     {record, "alter role app superuser;", "must be superuser"},
		"the administrator again": {record, "reset session authorization; set role admin;", `permission denied to set role "admin"`},
		"a program of the engine": {record, "copy (select 1) to program 'true';", "must be superuser or have privileges of"},
		"another's data":          {record, "\\c others\nselect 1;\n\\c shop\ndrop database others;", "must be owner of database others"},
		"a file of the host":      {record, "\\i " + secret + "\n", "Permission denied"},
		"a role of another":       {strings.ReplaceAll(record, `"app"`, `"other"`), "", "somebody else's: it has to do with others"},
		"a member of another's":   {strings.ReplaceAll(record, `"app"`, `"idle"`), "", "somebody else's: it has to do with role other"},
		"a superuser as role":     {strings.ReplaceAll(record, `"app"`, `"chief"`), "", "a user of the platform"},
		"the administrator":       {strings.ReplaceAll(record, `"app"`, `"admin"`), "", "a user of the platform"},
		"a role of the engine":    {strings.ReplaceAll(record, `"app"`, `"pg_monitor"`), "", `names a role "pg_monitor"`},
		"a right of the engine":   {strings.Replace(record, `"roles"`, `"members":[{"role":"pg_monitor","member":"app"}],"roles"`, 1), "", `makes "app" a member of "pg_monitor"`},
		"a password in clear":     {strings.Replace(record, `"login"`, `"password":"x' superuser","login"`, 1), "", "not hashed"},
		"no record":               {"[", "", "read the database's record"},
		"of the future":           {`{"format":9}`, "", "is of format 9"},
	})
	t.Run("a program of the host", func(t *testing.T) {
		dir := dumped(t, shop, record, "\\! stat -c %u /proc/self/ns/user; touch "+marks+"/mark\n")
		if err := onPostgreSQL(t, to).Load(t.Context(), shop, mine, dir, ids); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(marks, "mark"))
		if err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != ids.Host(0) {
			t.Errorf("%v, %v; want one that belongs to %d", st, err, ids.Host(0))
		}
	})
	t.Run("what it holds is not told", func(t *testing.T) {
		dir := dumped(t, shop, record, "create table t (x int, y text);\nCOPY t FROM stdin;\n1\ta customer's secret\n2\n\\.\n")
		err := onPostgreSQL(t, to).Load(t.Context(), shop, mine, dir, ids)
		if err == nil || !strings.Contains(err.Error(), `missing data for column "y"`) || strings.Contains(err.Error(), "COPY t, line") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a pipe and a link", func(t *testing.T) {
		base := t.TempDir()
		dir, err := os.OpenRoot(base)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		if err := syscall.Mkfifo(filepath.Join(base, "shop.sql"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := onPostgreSQL(t, to).Load(t.Context(), shop, mine, dir, ids); err == nil || !strings.Contains(err.Error(), "no plain file") {
			t.Errorf("a pipe: %v", err)
		}
		if err := errors.Join(os.Remove(filepath.Join(base, "shop.sql")), os.Symlink("/etc/shadow", filepath.Join(base, "shop.sql"))); err != nil {
			t.Fatal(err)
		}
		if err := onPostgreSQL(t, to).Load(t.Context(), shop, mine, dir, ids); err == nil {
			t.Error("a link was followed")
		}
	})
	if got := to.PSQL("postgres", "select count(*) from pg_roles where rolsuper"); got != "2" {
		t.Errorf("%s superusers, want admin and chief", got)
	}
}
