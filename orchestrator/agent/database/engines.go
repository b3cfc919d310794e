package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

// maxRecord is how large a NAME.json may be.
const maxRecord = 16 << 20

// Engines are those of one server. It is safe for concurrent use; calls for one database may not overlap.
type Engines struct {
	engines map[state.Engine]engine
}

// engine is one kind of database server.
type engine interface {
	// dump writes the SQL, and returns what NAME.json says.
	dump(ctx context.Context, name string, sql io.Writer) (record any, err error)
	exists(ctx context.Context, name string) (bool, error)
	// load replaces the database. own are all databases of the account in this engine, this one among them. The SQL is run
	// by a child with these ids.
	load(ctx context.Context, name string, own []string, record []byte, sql io.Reader, ids home.IDs) error
	// programs are those that it needs.
	programs() []string
}

// New checks that the client programs are there. Whether the engines answer is seen when they are needed.
func New(c Config, log *slog.Logger) (*Engines, error) {
	e := &Engines{engines: map[state.Engine]engine{}}
	if c.PostgreSQL != nil {
		e.engines[state.PostgreSQL] = &postgresql{*c.PostgreSQL, log}
	}
	if c.MariaDB != nil {
		e.engines[state.MariaDB] = &mariadb{*c.MariaDB, log}
	}
	for name, one := range e.engines {
		for _, p := range one.programs() {
			if _, err := exec.LookPath(p); err != nil {
				return nil, fmt.Errorf("%s: the agent needs its client programs: %w", name, err)
			}
		}
	}
	return e, nil
}

// List names them.
func (e *Engines) List() []state.Engine { return slices.Sorted(maps.Keys(e.engines)) }

func (e *Engines) of(d state.Database) (engine, error) {
	one := e.engines[d.Engine]
	if one == nil {
		return nil, fmt.Errorf("this server's agent knows of no %s: set databases in its configuration", d.Engine)
	}
	return one, nil
}

// Dump writes a database into two files of a directory, which will belong to owner. After an error neither is there.
func (e *Engines) Dump(ctx context.Context, d state.Database, into *os.Root, owner int) (err error) {
	one, err := e.of(d)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, name := range []string{sqlFile(d), recordFile(d)} {
				if gone := into.Remove(name); gone != nil && !errors.Is(gone, os.ErrNotExist) {
					err = errors.Join(err, gone)
				}
			}
		}
	}()
	var record any
	err = create(into, sqlFile(d), owner, func(w io.Writer) (err error) {
		record, err = one.dump(ctx, d.Name, w)
		return err
	})
	if err != nil {
		return err
	}
	return create(into, recordFile(d), owner, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(record)
	})
}

// Exists tells whether there is such a database here, whosever it is.
func (e *Engines) Exists(ctx context.Context, d state.Database) (bool, error) {
	one, err := e.of(d)
	if err != nil {
		return false, err
	}
	return one.exists(ctx, d.Name)
}

// Load makes a database from the two files of a dump, in the place of whatever has its name. all are the account's
// databases. After an error there may be half of it: Load again, or Exists.
func (e *Engines) Load(ctx context.Context, d state.Database, all []state.Database, from *os.Root, ids home.IDs) error {
	one, err := e.of(d)
	if err != nil {
		return err
	}
	var own []string
	for _, other := range all {
		if other.Engine == d.Engine {
			own = append(own, other.Name)
		}
	}
	sql, err := open(from, sqlFile(d))
	if err != nil {
		return err
	}
	defer sql.Close()
	file, err := open(from, recordFile(d))
	if err != nil {
		return err
	}
	defer file.Close()
	record, err := io.ReadAll(io.LimitReader(file, maxRecord+1))
	if err == nil && len(record) > maxRecord {
		err = fmt.Errorf("%s has more than %d bytes", recordFile(d), maxRecord)
	}
	if err != nil {
		return err
	}
	return one.load(ctx, d.Name, own, record, sql, ids)
}

func sqlFile(d state.Database) string    { return d.Name + ".sql" }
func recordFile(d state.Database) string { return d.Name + ".json" }

func create(in *os.Root, name string, owner int, write func(io.Writer) error) error {
	f, err := in.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Chown(owner, owner), f.Close())
}

// open takes plain files alone: what a snapshot holds under the name may be a link or a pipe.
func open(in *os.Root, name string) (*os.File, error) {
	f, err := in.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(fmt.Errorf("%s is no plain file", name), err)
	}
	return f, nil
}
