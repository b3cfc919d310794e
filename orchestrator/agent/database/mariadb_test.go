package database_test

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"drp/orchestrator/agent/database"
	"drp/orchestrator/agent/database/databasetest"
	"drp/raftstore/state"
)

var (
	blog      = state.Database{Engine: state.MariaDB, Name: "my_blog"}
	blogs     = state.Database{Engine: state.MariaDB, Name: "my-stats"}
	bothBlogs = []state.Database{blog, blogs}
)

func onMariaDB(t *testing.T, e *databasetest.Engine, platform ...string) *database.Engines {
	s := e.Server
	s.Platform = platform
	return engines(t, database.Config{MariaDB: &s})
}

const awkwardBlog = `
create user app@localhost identified by 'app''s' with max_user_connections 7;
create user 'o\'dd \\ one'@'10.0.%' identified by password '*B69027D44F6E5EDC07F1AEAD1477967B16F28227' account lock;
create user empty@localhost; create user monitoring@localhost identified by 'm'; create user watch@localhost identified by 'w';
create role writers; create role inner_writers; grant inner_writers to writers;
create database my_blog character set latin1 collate latin1_german1_ci; create database ¬my-stats¬; create database myxblog;
grant all on my_blog.* to app@localhost with grant option; grant all on ¬my-stats¬.* to app@localhost; grant select on ¬my\_%¬.* to 'o\'dd \\ one'@'10.0.%';
grant select on *.* to monitoring@localhost; grant select on ¬%¬.* to watch@localhost;
grant select, create temporary tables, lock tables, delete history on my_blog.* to inner_writers; grant writers to app@localhost with admin option; set default role writers for app@localhost;
use my_blog;
create table accounts (id int primary key, balance int not null) engine=innodb;
insert into accounts select seq, 1000 from seq_1_to_500;
create table texts (id int auto_increment primary key, t longtext character set utf8mb4, b blob, d datetime(6), g int generated always as (char_length(t)) stored, fulltext (t));
insert into texts (t, b, d) values ('a\nDELIMITER ;;\nCREATE DEFINER=¬app¬@¬localhost¬ x', x'00ff27', '2020-02-03 01:02:03.5'), ('é 😀 \\'';--', null, null), (repeat('x', 300000), null, null);
create sequence ids start with 7;
create definer=app@localhost sql security invoker view rich as select id, 'é' as e from accounts where balance > 10;
create definer=admin@localhost view theirs as select * from rich;
set names latin1;
create definer='o\'dd \\ one'@'10.0.%' view odd as select 'caf\xe9' as c;
set names utf8mb4;
delimiter ;;
create definer=app@localhost procedure move(a int, b int, n int) comment 'moves' begin
-- CREATE DEFINER=¬nobody¬@¬here¬
  update accounts set balance = balance - n where id = a; update accounts set balance = balance + n where id = b; end;;
create definer='o\'dd \\ one'@'10.0.%' function total() returns int deterministic sql security invoker return (select sum(balance) from accounts);;
create definer=app@localhost trigger second before insert on texts for each row set new.t = concat(new.t, '2');;
create definer='o\'dd \\ one'@'10.0.%' trigger first before insert on texts for each row precedes second set new.t = concat(new.t, '1');;
set sql_mode = 'ansi_quotes';;
create definer=app@localhost event tidy on schedule every 1 day starts '2030-01-01 00:00:00' disable do begin delete from "texts" where id < 0; end;;
set sql_mode = default;;
delimiter ;
grant execute, alter routine on procedure my_blog.move to empty@localhost with grant option; grant execute on function my_blog.total to writers;
grant select (id), update (balance), insert on my_blog.accounts to empty@localhost; grant select on my_blog.theirs to empty@localhost;
`

func TestMariaDB(t *testing.T) {
	from, to := databasetest.MariaDB(t), databasetest.MariaDB(t)
	from.MySQL(strings.NewReplacer("¬", "`", `\xe9`, "\xe9").Replace(awkwardBlog))
	from.MySQL("use `my-stats`; create table t (i int); insert into t values (1); create definer=app@localhost view v as select * from t")
	to.MySQL("create user monitoring@localhost identified by 'm'; grant select on *.* to monitoring@localhost; create user watch@localhost identified by 'other'")
	dir := scratch(t)
	source, target := onMariaDB(t, from, "watch"), onMariaDB(t, to, "watch")
	for _, d := range bothBlogs {
		if err := source.Dump(t.Context(), d, dir, os.Getuid()); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []state.Database{blog, blogs, blog} { // what is in the way is replaced
		if err := target.Load(t.Context(), d, bothBlogs, dir, ids); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range bothBlogs {
		if there, err := target.Exists(t.Context(), d); !there || err != nil {
			t.Errorf("%s: exists = %v, %v", d.Name, there, err)
		}
	}
	if got := to.MySQL("select definer from information_schema.views where table_name = 'theirs'"); got != "app@localhost" {
		t.Errorf("the platform's view belongs to %s, want the user with most rights", got)
	}
	from.MySQL("use my_blog; create or replace definer=app@localhost view theirs as select * from rich; grant select on my_blog.theirs to empty@localhost")
	same(t, myText(t, from), myText(t, to))
	if got := to.MySQL("select group_concat(distinct user order by user) from mysql.global_priv where user not in ('root', 'mariadb.sys')"); got != `admin,app,empty,inner_writers,monitoring,o'dd \ one,watch,writers` {
		t.Errorf("users = %s", got)
	}
	for _, e := range []*databasetest.Engine{from, to} {
		db := openMySQL(t, e, "app", "app's", "my_blog")
		var total int
		if err := db.QueryRow("select total()").Scan(&total); err != nil || total != 500000 {
			t.Errorf("as app: %d, %v", total, err)
		}
	}
}

func openMySQL(t *testing.T, e *databasetest.Engine, user, password, name string) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = user, password, "unix", e.Socket, name
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

// myText is all that there is to the databases, as MariaDB's own programs tell it.
func myText(t *testing.T, e *databasetest.Engine) string {
	t.Helper()
	var all string
	for _, d := range bothBlogs {
		cmd := exec.Command("mariadb-dump", "--no-defaults", "--user=admin", "--socket="+e.Socket, "--routines", "--triggers", "--events", "--skip-dump-date", "--databases", d.Name)
		cmd.Env = []string{"MYSQL_PWD=" + databasetest.Password}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", d.Name, err)
		}
		all += string(out)
	}
	for _, who := range []string{"app@localhost", "empty@localhost", "`o'dd \\ one`@`10.0.%`"} {
		all += "\n" + e.MySQL("show create user "+who) + "\n" + e.MySQL("show grants for "+who)
	}
	all += "\n" + e.MySQL("show grants for writers; show grants for inner_writers; select host, user, role, admin_option from mysql.roles_mapping where user <> 'admin' order by 1, 2, 3")
	// The pattern of a grant becomes the name of the database itself.
	all = strings.NewReplacer("`my\\_%`", "`my\\_blog`", "`my_blog`", "`my\\_blog`").Replace(all)
	return regexp.MustCompile(`(?m)^-- Host: .*$`).ReplaceAllString(all, "")
}

func TestMariaDB_WrittenDuringTheDump(t *testing.T) {
	from, to := databasetest.MariaDB(t), databasetest.MariaDB(t)
	from.MySQL(`create database my_blog; create user app@localhost identified by 'x'; grant all on my_blog.* to app@localhost; use my_blog;
create table accounts (id int primary key, balance int not null, filler text); create table transfers (id int auto_increment primary key, amount int);
insert into accounts select seq, 1000, repeat('x', 500) from seq_1_to_20000`)
	db := openMySQL(t, from, "app", "x", "my_blog")
	bank{blog, bothBlogs, onMariaDB(t, from), onMariaDB(t, to), func(loser, winner int) error {
		tx, err := db.Begin()
		for _, q := range []string{fmt.Sprintf("update accounts set balance = balance - 7 where id = %d", loser),
			fmt.Sprintf("update accounts set balance = balance + 7 where id = %d", winner), "insert into transfers (amount) values (7)"} {
			if err == nil {
				_, err = tx.Exec(q)
			}
		}
		if err == nil {
			err = tx.Commit()
		}
		return err
	}, func(sql string) string { return from.MySQL("use my_blog; " + sql) }, func(sql string) string { return to.MySQL("use my_blog; " + sql) }}.dumpsOneMoment(t)
}

func TestMariaDB_DumpFails(t *testing.T) {
	from := databasetest.MariaDB(t)
	from.MySQL("create database my_blog; create user app@localhost identified via unix_socket; create table my_blog.t (i int)")
	t.Run("no such database", func(t *testing.T) {
		dir := scratch(t)
		wantError(t, onMariaDB(t, from).Dump(t.Context(), blogs, dir, 0), "no such database", dir)
	})
	t.Run("wrong rights", func(t *testing.T) {
		from.MySQL("create user weak@localhost identified by 'weak'; grant select on my_blog.* to weak@localhost")
		dir := scratch(t)
		wantError(t, engines(t, database.Config{MariaDB: as(t, from, "weak", "weak")}).Dump(t.Context(), blog, dir, 0), "SELECT command denied", dir)
	})
	t.Run("a user that cannot be taken along", func(t *testing.T) {
		from.MySQL("grant select on my_blog.* to app@localhost")
		dir := scratch(t)
		wantError(t, onMariaDB(t, from).Dump(t.Context(), blog, dir, 0), "logs in by unix_socket", dir)
		if err := onMariaDB(t, from, "app", "weak").Dump(t.Context(), blog, scratch(t), 0); err != nil {
			t.Errorf("as the platform's: %v", err)
		}
	})
	t.Run("the engine goes in the middle", func(t *testing.T) {
		from.MySQL("drop user app@localhost; use my_blog; create table u as select seq, repeat(md5(seq), 30) from seq_1_to_20000")
		db := openMySQL(t, from, "admin", databasetest.Password, "my_blog")
		// The dump waits for a table that is being changed; then the engine dies.
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), "lock tables u write"); err != nil {
			t.Fatal(err)
		}
		dir := scratch(t)
		ended := make(chan error, 1)
		go func() { ended <- onMariaDB(t, from).Dump(t.Context(), blog, dir, 0) }()
		for waiting := 0; waiting == 0; {
			if err := db.QueryRow("select count(*) from information_schema.processlist where state like 'Waiting for table%'").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		from.Stop()
		wantError(t, <-ended, "mariadb-dump", dir)
	})
}

func TestMariaDB_HostileDump(t *testing.T) {
	to := databasetest.MariaDB(t)
	to.MySQL("create user other@localhost identified by 'o'; create database others; grant all on others.* to other@localhost; create user chief@localhost; grant super on *.* to chief@localhost")
	const record = `{"format":1,"charset":"utf8mb4","collate":"utf8mb4_general_ci","users":[{"user":"app","host":"localhost"}]}`
	refuses(t, onMariaDB(t, to), blog, bothBlogs, map[string]lie{
		"all rights":             {record, "grant all on *.* to app@localhost;", "Access denied"},
		"in another's name":      {record, "create definer=admin@localhost procedure p() drop database others; call p();", "SET USER privilege"},
		"in one's name by trick": {record, "prepare s from 'create definer=admin@localhost procedure p() drop database others'; execute s; call p();", "SET USER privilege"},
		"another's data":         {record, "drop database others;", "Access denied"},
		"a file of the engine":   {record, "select 1 into outfile '/tmp/drp-never';", "Access denied"},
		"a program of the host":  {record, "\\! id\n", "sandbox"},
		"a file of the host":     {record, "source /etc/passwd\n", "sandbox"},
		"a user of another":      {strings.ReplaceAll(record, `"app"`, `"other"`), "", "somebody else's: it has to do with others"},
		"the administrator":      {strings.ReplaceAll(record, `"app"`, `"admin"`), "", "a user of the platform"},
		"a superuser":            {strings.ReplaceAll(record, `"app"`, `"chief"`), "", "a user of the platform"},
		"a right of the engine":  {strings.Replace(record, `"users"`, `"grants":[{"to":{"user":"app","host":"localhost"},"privileges":["SUPER"]}],"users"`, 1), "", `gives "SUPER"`},
		"a right of another":     {strings.Replace(record, `"users"`, `"grants":[{"to":{"user":"other","host":"localhost"},"privileges":["SELECT"]}],"users"`, 1), "", "does not describe"},
		"a password in clear":    {strings.Replace(record, `"host"`, `"plugin":"mysql_native_password","hash":"x' account","host"`, 1), "", "cannot be taken"},
		"no record":              {"[", "", "read the database's record"},
	})
	t.Run("what it holds is not told", func(t *testing.T) {
		dir := dumped(t, blog, record, "create table t (x int);\ninsert into t values\n(1),\n('a secret', 2);\n")
		err := onMariaDB(t, to).Load(t.Context(), blog, bothBlogs, dir, ids)
		if err == nil || !strings.Contains(err.Error(), "Column count doesn't match") || strings.Contains(err.Error(), "a secret") {
			t.Errorf("got %v", err)
		}
	})
	if got := to.MySQL("select count(*) from information_schema.schemata where schema_name = 'others'"); got != "1" {
		t.Error("another's database is gone")
	}
}
