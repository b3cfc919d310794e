package keyfiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"drp/replicator"
	"drp/replicator/restic"
)

// Sealed names the repositories that have a sealed break-glass password in a store.
func Sealed(ctx context.Context, store *replicator.Store) ([]string, error) {
	list, err := store.List(ctx, replicator.BreakGlassRoot)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, o := range list {
		if name, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, replicator.BreakGlassRoot), breakGlassSuffix); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// ErrNoBreakGlass: there is no sealed break-glass password of that repository in that store.
var ErrNoBreakGlass = errors.New("there is no sealed break-glass password")

// Open opens a repository's break-glass password by an offline key, and with it the repository.
func Open(ctx context.Context, store *replicator.Store, tool Tool, repo restic.Repository, name string, identities ...age.Identity) (password string, key restic.Key, err error) {
	at := BreakGlassKey(name)
	o, err := store.Stat(ctx, at)
	switch {
	case errors.Is(err, replicator.ErrNotFound):
		return "", key, fmt.Errorf("%w of %q in %s", ErrNoBreakGlass, name, store)
	case err != nil:
		return "", key, err
	case o.Size > mostBytes:
		return "", key, fmt.Errorf("read %s/%s: %d bytes are too many", store, at, o.Size)
	}
	sealed, err := store.Get(ctx, at, o.Size)
	if err != nil {
		return "", key, err
	}
	opened, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return "", key, fmt.Errorf("open %s/%s with the offline key: %w", store, at, err)
	}
	text, err := io.ReadAll(opened)
	if err != nil {
		return "", key, fmt.Errorf("open %s/%s with the offline key: %w", store, at, err)
	}
	repo.Password = string(text)
	if _, key, err = tool.Keys(ctx, repo); err != nil {
		return "", key, fmt.Errorf("open the repository of %s with its break-glass password: %w", name, err)
	}
	return repo.Password, key, nil
}
