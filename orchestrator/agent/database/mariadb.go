package database

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"
)

type mariadb struct {
	at  Server
	log *slog.Logger
}

func (m *mariadb) programs() []string {
	return []string{m.at.program("mariadb-dump"), m.at.program("mariadb")}
}

// session is one connection of the administrator. What it runs is one statement at a time: the protocol sees to it.
type session struct {
	*sql.Conn
	pool *sql.DB
}

func (s session) close() {
	s.Conn.Close()
	s.pool.Close()
}

// do runs statements that take no parameters, one after the other.
func (s session) do(ctx context.Context, statements ...string) error {
	for _, text := range statements {
		if _, err := s.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// each reads rows of texts; NULL is empty.
func (s session) each(ctx context.Context, row func(columns []string, values []string) error, query string, args ...any) error {
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		raw, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range raw {
			into[i] = &raw[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		values := make([]string, len(raw))
		for i := range raw {
			values[i] = string(raw[i])
		}
		if err := row(columns, values); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (m *mariadb) connect(ctx context.Context) (session, error) {
	password, err := m.at.password()
	if err != nil {
		return session{}, err
	}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Logger = m.at.User, password, &mysql.NopLogger{}
	c.Net, c.Addr = "unix", m.at.Socket
	if m.at.Host != "" {
		c.Net, c.Addr = "tcp", m.at.Host
	}
	c.Params = map[string]string{"sql_mode": "''"} // as the quoting below expects it
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return session{}, err
	}
	pool := sql.OpenDB(connector)
	conn, err := pool.Conn(ctx)
	if err != nil {
		pool.Close()
		return session{}, fmt.Errorf("reach MariaDB: %w", err)
	}
	return session{conn, pool}, nil
}

// arguments lead a client program to the engine. The password is in the environment.
func (m *mariadb) arguments(user string) []string {
	args := []string{"--no-defaults", "--user=" + user, "--default-character-set=utf8mb4", "--max-allowed-packet=1G"}
	if m.at.Socket != "" {
		return append(args, "--protocol=socket", "--socket="+m.at.Socket)
	}
	host, port, _ := net.SplitHostPort(m.at.Host) // checked with the configuration
	return append(args, "--protocol=tcp", "--host="+host, "--port="+port)
}

func (m *mariadb) exists(ctx context.Context, name string) (bool, error) {
	s, err := m.connect(ctx)
	if err != nil {
		return false, err
	}
	defer s.close()
	there := false
	err = s.each(ctx, func([]string, []string) error { there = true; return nil },
		"select 1 from information_schema.schemata where schema_name = ?", name)
	return there, err
}

// dump is one transaction's view of the data in InnoDB, whatever is written meanwhile.
func (m *mariadb) dump(ctx context.Context, name string, out io.Writer) (any, error) {
	s, err := m.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	record, err := m.describe(ctx, s, name)
	if err != nil {
		return nil, fmt.Errorf("read who owns database %s: %w", name, err)
	}
	password, err := m.at.password()
	if err != nil {
		return nil, err
	}
	// Without the date, so that a database that has not changed is not stored again.
	args := append(m.arguments(m.at.User), "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob", "--skip-dump-date", name)
	err = child{program: m.at.program("mariadb-dump"), args: args, env: []string{"MYSQL_PWD=" + password}, stdout: out}.run(ctx)
	if err != nil {
		return nil, err
	}
	return record, nil
}

func myName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func myText(s string) string {
	return `'` + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + `'`
}

// myPattern is a database's name where MariaDB takes a pattern.
func myPattern(s string) string {
	return myName(strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(s))
}
