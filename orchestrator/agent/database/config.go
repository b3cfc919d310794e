// Package database dumps the databases of accounts out of the engines of this server, and loads them into those of
// another.
//
// A dump is two files: NAME.sql, what the engine's own dump program writes, and NAME.json, which says what that leaves
// out: who owns the database, its users with their hashed passwords and their rights.
//
// A dump that comes out of a snapshot is not trusted. Whoever knows a repository's password can have written it, and
// even an honest one runs an account's code while it is loaded (functions in indexes and checks, triggers). So its SQL is
// never run by the engine's administrator: it is run by a login that exists for the loading, has the rights of the
// account's own users and no more, from a client program that is nobody on this machine. What only an administrator can
// do is built from NAME.json, field by field.
package database

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"drp/raftstore/state"
)

// Config says where the engines of a server are.
type Config struct {
	PostgreSQL *Server `yaml:"postgresql,omitempty"`
	MariaDB    *Server `yaml:"mariadb,omitempty"`
}

// Server is one engine, and its administrator's login.
type Server struct {
	// Socket is where it listens: of PostgreSQL the directory, of MariaDB the file. Or else Host (host:port).
	Socket string `yaml:"socket,omitempty"`
	Host   string `yaml:"host,omitempty"`
	// User is an administrator (superuser; all privileges): dumps hold hashed passwords, which nobody else may read.
	User string `yaml:"user"`
	// PasswordFile holds its password, and is for root alone.
	PasswordFile string `yaml:"password_file"`
	// Programs is the directory of the engine's client programs. Empty: as PATH finds them.
	Programs string `yaml:"programs,omitempty"`
	// Platform are the platform's own users that have rights in databases of accounts (for monitoring, say), with such names
	// on every server. They are no account's: a snapshot does not hold them, and a restore leaves them alone.
	Platform []string `yaml:"platform_users,omitempty"`
}

// Check says what is wrong with the configuration.
func (c Config) Check() error {
	var wrong []error
	for engine, s := range c.servers() {
		for _, fault := range s.faults() {
			wrong = append(wrong, fmt.Errorf("%s: %s", engine, fault))
		}
	}
	return errors.Join(wrong...)
}

func (c Config) servers() map[state.Engine]*Server {
	all := map[state.Engine]*Server{}
	if c.PostgreSQL != nil {
		all[state.PostgreSQL] = c.PostgreSQL
	}
	if c.MariaDB != nil {
		all[state.MariaDB] = c.MariaDB
	}
	return all
}

func (s *Server) faults() []string {
	var wrong []string
	if (s.Socket == "") == (s.Host == "") {
		wrong = append(wrong, "one of socket and host is needed")
	}
	for key, path := range map[string]string{"socket": s.Socket, "programs": s.Programs} {
		if path != "" && !filepath.IsAbs(path) {
			wrong = append(wrong, fmt.Sprintf("%s: %q is not an absolute path", key, path))
		}
	}
	if !filepath.IsAbs(s.PasswordFile) {
		wrong = append(wrong, fmt.Sprintf("password_file: %q is not an absolute path", s.PasswordFile))
	}
	if s.Host != "" {
		if _, port, err := net.SplitHostPort(s.Host); err != nil || !goodPort(port) {
			wrong = append(wrong, fmt.Sprintf("host: %q is not as in [::1]:5432", s.Host))
		}
	}
	if s.User == "" {
		wrong = append(wrong, "user: the administrator's name is missing")
	}
	slices.Sort(wrong)
	return wrong
}

func goodPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// password reads it anew each time: it may be changed while the agent runs.
func (s *Server) password() (string, error) {
	raw, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read the administrator's password: %w", err)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// program is the path of a client program.
func (s *Server) program(name string) string {
	if s.Programs == "" {
		return name
	}
	return filepath.Join(s.Programs, name)
}
