package database_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drp/orchestrator/agent/database"
)

func TestConfig_Check(t *testing.T) {
	good := database.Server{Socket: "/run/postgresql", User: "drp", PasswordFile: "/etc/drp/postgresql"}
	for name, test := range map[string]struct {
		edit func(*database.Server)
		want string
	}{
		"as it is":         {func(*database.Server) {}, ""},
		"a host":           {func(s *database.Server) { s.Socket, s.Host = "", "[::1]:5432" }, ""},
		"both":             {func(s *database.Server) { s.Host = "[::1]:5432" }, "postgresql: one of socket and host is needed"},
		"neither":          {func(s *database.Server) { s.Socket = "" }, "postgresql: one of socket and host is needed"},
		"no port":          {func(s *database.Server) { s.Socket, s.Host = "", "localhost" }, `postgresql: host: "localhost" is not as in [::1]:5432`},
		"no port either":   {func(s *database.Server) { s.Socket, s.Host = "", "localhost:x" }, `postgresql: host: "localhost:x" is not as in [::1]:5432`},
		"relative":         {func(s *database.Server) { s.Socket = "run" }, `postgresql: socket: "run" is not an absolute path`},
		"nobody":           {func(s *database.Server) { s.User = "" }, "postgresql: user: the administrator's name is missing"},
		"no password file": {func(s *database.Server) { s.PasswordFile = "" }, `postgresql: password_file: "" is not an absolute path`},
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			test.edit(&s)
			got := ""
			if err := (database.Config{PostgreSQL: &s}).Check(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNew_NoPrograms(t *testing.T) {
	s := database.Server{Socket: "/run/x", User: "drp", PasswordFile: "/p", Programs: t.TempDir()}
	_, err := database.New(database.Config{MariaDB: &s}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "mariadb: the agent needs its client programs") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.Programs, "mariadb"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := database.New(database.Config{MariaDB: &s}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("one of two is enough")
	}
}
