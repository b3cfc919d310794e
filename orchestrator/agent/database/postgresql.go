package database

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

type postgresql struct {
	at  Server
	log *slog.Logger
}

func (p *postgresql) programs() []string {
	return []string{p.at.program("pg_dump"), p.at.program("psql")}
}

// maintenance is the database that each engine has, and that is no account's.
const maintenance = "postgres"

// login is a user of the engine.
type login struct{ user, password string }

func (p *postgresql) administrator() (login, error) {
	password, err := p.at.password()
	return login{p.at.User, password}, err
}

// connect opens a session. What an account has set for its database or its users does not count in it: names mean the
// engine's own functions and operators.
func (p *postgresql) connect(ctx context.Context, as login, database string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("sslmode=prefer host=localhost")
	if err != nil {
		return nil, err
	}
	c.Host, c.Port = p.endpoint()
	if p.at.Socket != "" {
		c.TLSConfig, c.Fallbacks = nil, nil
	} else {
		for _, f := range c.Fallbacks {
			f.Host, f.Port = c.Host, c.Port
		}
	}
	c.User, c.Password, c.Database = as.user, as.password, database
	c.RuntimeParams = map[string]string{"application_name": "drp", "search_path": "pg_catalog", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("reach PostgreSQL: %w", err)
	}
	return conn, nil
}

func (p *postgresql) endpoint() (host string, port uint16) {
	if p.at.Socket != "" {
		return p.at.Socket, 5432
	}
	host, text, _ := net.SplitHostPort(p.at.Host) // checked with the configuration
	n, _ := strconv.ParseUint(text, 10, 16)
	return host, uint16(n)
}

// environment leads a client program to the engine.
func (p *postgresql) environment(as login, database string) []string {
	host, port := p.endpoint()
	return []string{"PGHOST=" + host, fmt.Sprintf("PGPORT=%d", port), "PGUSER=" + as.user, "PGPASSWORD=" + as.password, "PGDATABASE=" + database,
		"PGPASSFILE=/dev/null", "PGSYSCONFDIR=/nonexistent", "PGCLIENTENCODING=UTF8", "PGAPPNAME=drp"}
}

func (p *postgresql) exists(ctx context.Context, name string) (there bool, err error) {
	admin, err := p.administrator()
	if err != nil {
		return false, err
	}
	conn, err := p.connect(ctx, admin, maintenance)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", name).Scan(&there)
	return there, err
}

// dump is one transaction's view of the data (pg_dump's own), whatever is written meanwhile.
func (p *postgresql) dump(ctx context.Context, name string, sql io.Writer) (any, error) {
	admin, err := p.administrator()
	if err != nil {
		return nil, err
	}
	conn, err := p.connect(ctx, admin, name)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	record, err := p.describe(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read who owns database %s: %w", name, err)
	}
	err = child{
		program: p.at.program("pg_dump"), env: p.environment(admin, name), stdout: sql,
		// Tablespaces are a server's own, and a subscription would begin to draw from its publisher at once, at two places.
		args: []string{"--format=plain", "--no-password", "--no-tablespaces", "--no-subscriptions", "--no-security-labels", "--lock-wait-timeout=10min"},
	}.run(ctx)
	if err != nil {
		return nil, err
	}
	return record, nil
}

// name and text quote for SQL that takes no parameters.
func pgName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func pgText(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }
