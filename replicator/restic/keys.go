package restic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Key is one password's file in a repository.
type Key struct {
	ID      string `json:"id"`      // the file's name, 64 hexadecimal digits
	Current bool   `json:"current"` // it is the one that the password at hand opens
	User    string `json:"userName"`
	Host    string `json:"hostName"`
}

// AddKey gives a repository another password. User and host are written into the key's file, in clear.
func (r *Runner) AddKey(ctx context.Context, repo Repository, password, user, host string) error {
	if password == "" || password == repo.Password {
		return errors.New("restic key add: the new password is empty, or the present one")
	}
	_, err := r.run(ctx, repo, call{
		verb: "key", args: []string{"add", "--user=" + user, "--host=" + host}, newPassword: password, limit: r.quick(),
	})
	return err
}

// Keys lists a repository's keys, without a lock. That it succeeds shows that the password opens the repository; one of the
// keys is Current.
func (r *Runner) Keys(ctx context.Context, repo Repository) (keys []Key, current Key, err error) {
	found := false
	said, err := r.run(ctx, repo, call{verb: "key", args: []string{"list", "--no-lock"}, limit: r.quick(), line: func(line []byte) {
		if line = bytes.TrimSpace(line); !found && bytes.HasPrefix(line, []byte("[")) {
			found = json.Unmarshal(line, &keys) == nil
		}
	}})
	if err != nil {
		return nil, current, err
	}
	for _, k := range keys {
		if !snapshotName.MatchString(k.ID) {
			return nil, current, &Error{Verb: "key", Class: ErrFailed, Message: fmt.Sprintf("a key with the id %.80q", k.ID), Tail: said.text()}
		}
		if k.Current {
			current = k
		}
	}
	if !found || current.ID == "" {
		return nil, current, &Error{Verb: "key", Class: ErrFailed, Message: "no key that it has used in its output", Tail: said.text()}
	}
	return keys, current, nil
}
