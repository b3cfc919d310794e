package maintenance_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"drp/replicator/restic"
)

// model is a restic without secrets: its files are JSON, and a blob is a name. Otherwise it does what restic does, in
// restic's order, through the same door.
type model struct {
	mu     sync.Mutex
	random *rand.Rand
}

type modelFile struct {
	Blobs []string            `json:"blobs,omitempty"` // of a snapshot or a pack
	Packs map[string][]string `json:"packs,omitempty"` // of an index
	Salt  uint64              `json:"salt"`            // restic's nonce: no two files are the same
}

func (m *model) intN(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.random.IntN(n)
}

// file makes one, and its name.
func (m *model) file(f modelFile) (name string, content []byte) {
	m.mu.Lock()
	f.Salt = m.random.Uint64()
	m.mu.Unlock()
	slices.Sort(f.Blobs)
	content, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), content
}

// session is one run of the model.
type session struct {
	*model
	client http.Client
	base   string
}

func (m *model) open(repo restic.Repository) *session {
	socket, path, _ := strings.Cut(strings.TrimPrefix(repo.URL, "rest:http+unix://"), ":")
	return &session{model: m, base: "http://door" + path, client: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

func (s *session) close() { s.client.CloseIdleConnections() }

func (s *session) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, response.Status, answer)
	}
	return answer, err
}

func (s *session) list(ctx context.Context, folder string) (names []string, err error) {
	answer, err := s.do(ctx, http.MethodGet, folder+"/", nil)
	if err == nil {
		err = json.Unmarshal(answer, &names)
	}
	return names, err
}

func (s *session) load(ctx context.Context, folder string) (map[string]modelFile, error) {
	names, err := s.list(ctx, folder)
	if err != nil {
		return nil, err
	}
	files := make(map[string]modelFile)
	for _, name := range names {
		content, err := s.do(ctx, http.MethodGet, folder+"/"+name, nil)
		if err != nil {
			return nil, err
		}
		var f modelFile
		if err := json.Unmarshal(content, &f); err != nil {
			return nil, err
		}
		files[name] = f
	}
	return files, nil
}

func (m *model) Forget(ctx context.Context, repo restic.Repository, ids []string) error {
	s := m.open(repo)
	defer s.close()
	for _, id := range ids {
		if _, err := s.do(ctx, http.MethodDelete, "snapshots/"+id, nil); err != nil {
			return err
		}
	}
	return nil
}

// Prune writes packs anew that are half in use, then the index, and deletes the old index before the old packs.
func (m *model) Prune(ctx context.Context, repo restic.Repository) error {
	s := m.open(repo)
	defer s.close()
	snapshots, err := s.load(ctx, "snapshots")
	if err != nil {
		return err
	}
	indexes, err := s.load(ctx, "index")
	if err != nil {
		return err
	}
	packs, err := s.list(ctx, "data")
	if err != nil {
		return err
	}
	used := make(map[string]bool)
	for _, f := range snapshots {
		for _, b := range f.Blobs {
			used[b] = true
		}
	}
	indexed := make(map[string][]string)
	for _, f := range indexes {
		maps.Copy(indexed, f.Packs)
	}
	var remove []string
	for _, p := range packs {
		if indexed[p] == nil {
			remove = append(remove, p)
		}
	}
	taken := make(map[string]bool) // of a blob that is there twice one copy stays, and it is not said which
	kept := make(map[string][]string)
	var rest []string
	names := slices.Sorted(maps.Keys(indexed))
	for len(names) > 0 {
		n := m.intN(len(names))
		name := names[n]
		names = slices.Delete(names, n, n+1)
		var need []string
		for _, b := range indexed[name] {
			if used[b] && !taken[b] {
				need = append(need, b)
			}
		}
		for _, b := range need {
			taken[b] = true
		}
		switch {
		case len(need) == 0:
			remove = append(remove, name)
		case len(need) < len(indexed[name]) && m.intN(2) == 0:
			remove = append(remove, name)
			rest = append(rest, need...)
		default:
			kept[name] = indexed[name]
		}
	}
	for b := range used {
		if !taken[b] {
			return fmt.Errorf("blob %s is in no index", b)
		}
	}
	if len(remove) == 0 {
		return nil
	}
	if len(rest) > 0 {
		name, content := m.file(modelFile{Blobs: rest})
		if _, err := s.do(ctx, http.MethodPost, "data/"+name, content); err != nil {
			return err
		}
		kept[name] = rest
	}
	name, content := m.file(modelFile{Packs: kept})
	if _, err := s.do(ctx, http.MethodPost, "index/"+name, content); err != nil {
		return err
	}
	for name := range indexes {
		if _, err := s.do(ctx, http.MethodDelete, "index/"+name, nil); err != nil {
			return err
		}
	}
	for _, name := range remove {
		if _, err := s.do(ctx, http.MethodDelete, "data/"+name, nil); err != nil {
			return err
		}
	}
	return nil
}

// Check reads everything.
func (m *model) Check(ctx context.Context, repo restic.Repository, _ restic.CheckOptions) error {
	s := m.open(repo)
	defer s.close()
	var class [3]map[string]modelFile
	for n, folder := range []string{"snapshots", "index", "data"} {
		var err error
		if class[n], err = s.load(ctx, folder); err != nil {
			return err
		}
	}
	there := make(map[string]bool)
	for name, f := range class[1] {
		for pack, blobs := range f.Packs {
			for _, b := range blobs {
				if !slices.Contains(class[2][pack].Blobs, b) {
					return fmt.Errorf("index %.8s says that %s is in pack %.8s, and it is not", name, b, pack)
				}
				there[b] = true
			}
		}
	}
	for id, f := range class[0] {
		for _, b := range f.Blobs {
			if !there[b] {
				return fmt.Errorf("snapshot %.8s needs %s, which is nowhere", id, b)
			}
		}
	}
	return nil
}
