package scenario

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"drp/orchestrator"
	"drp/raftstore/state"
)

const leaderPatience = 90 * time.Second

// MoveLeader kills leaders until one of the site leads.
func (p *Platform) MoveLeader(ctx context.Context, site string) error {
	return Within(ctx, leaderPatience, func(ctx context.Context) error {
		report, err := p.Status(ctx)
		if err != nil {
			return err
		}
		for _, c := range report.Coordinators {
			if c.Role != "leader" {
				continue
			}
			if string(c.Site) == site {
				return nil
			}
			if err := p.Lab.KillService(ctx, c.Name, "server"); err != nil {
				return err
			}
		}
		return fmt.Errorf("the coordinator of %s does not lead yet", site)
	})
}

// LastRun is the newest run of a runbook.
func (p *Platform) LastRun(ctx context.Context, runbook string) (*state.Run, error) {
	var runs []*state.Run
	if err := p.decode(ctx, &runs, "run", "status", "--json"); err != nil {
		return nil, err
	}
	for _, r := range runs { // newest first
		if r.Runbook == runbook {
			return r, nil
		}
	}
	return nil, fmt.Errorf("there is no run of %s", runbook)
}

// HomeOf is where an account's home is now, as this machine sees it.
func (p *Platform) HomeOf(ctx context.Context, account string) (string, error) {
	report, err := p.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, a := range report.Accounts {
		if string(a.Account) == account && a.Server != "" {
			return p.Lab.HomeOf(string(a.Server), account), nil
		}
	}
	return "", fmt.Errorf("account %s has no server", account)
}

// Aside holds that the server which lost an account keeps what it held out of the way, and nothing in its place.
func (p *Platform) Aside(_ context.Context, account state.AccountName, plan *orchestrator.Plan) error {
	for _, a := range plan.Accounts {
		if a.Account != account {
			continue
		}
		live := p.Lab.HomeOf(string(a.From), string(account))
		if _, err := os.Stat(live); err == nil {
			return fmt.Errorf("account %s: its stale home is still live on %s", account, a.From)
		}
		aside := filepath.Join(filepath.Dir(filepath.Dir(live)), "aside", string(account)+"@"+a.Token.String())
		if _, err := os.Stat(aside); err != nil {
			return fmt.Errorf("account %s: its stale home was not set aside on %s: %w", account, a.From, err)
		}
		return nil
	}
	return fmt.Errorf("account %s is not in the plan", account)
}

// Passwords opens the accounts' repository passwords as break-glass does: sealed ones from the API, and the offline key.
func (p *Platform) Passwords(ctx context.Context, accounts []state.Account) (map[string]string, error) {
	key, err := os.Open(filepath.Join(p.Lab.Keys(), "offline-age.key"))
	if err != nil {
		return nil, err
	}
	defer key.Close()
	identities, err := age.ParseIdentities(key)
	if err != nil {
		return nil, err
	}
	passwords := map[string]string{}
	for _, a := range accounts {
		var detail struct {
			SealedKey      []byte `json:"sealed_key"`
			SealedPassword []byte `json:"sealed_password"`
		}
		if err := p.decode(ctx, &detail, "get", "accounts", string(a.Name), "--json"); err != nil {
			return nil, err
		}
		password, err := openByHand(detail.SealedKey, detail.SealedPassword, identities)
		if err != nil {
			return nil, fmt.Errorf("open the password of %s with the offline key: %w", a.Name, err)
		}
		passwords[string(a.Name)] = password
	}
	return passwords, nil
}

// openByHand does what age does when a person calls it twice: the key first, and with it what lies behind the first line.
func openByHand(sealedKey, sealed []byte, identities []age.Identity) (string, error) {
	key, err := age.Decrypt(bytes.NewReader(sealedKey), identities...)
	if err != nil {
		return "", fmt.Errorf("open the key: %w", err)
	}
	if identities, err = age.ParseIdentities(key); err != nil {
		return "", err
	}
	_, body, _ := bytes.Cut(sealed, []byte("\n"))
	secret, err := age.Decrypt(bytes.NewReader(body), identities...)
	if err != nil {
		return "", err
	}
	plain, err := io.ReadAll(secret)
	return string(plain), err
}

// ReadTree reads all files below a folder, by their path in it.
func ReadTree(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		files[relative] = data
		return err
	})
	return files, err
}

// FindTree holds that every one of these files is below a folder again, at its path or deeper, and counts them.
func FindTree(root string, want map[string][]byte) (int, error) {
	got, err := ReadTree(root)
	if err != nil {
		return 0, err
	}
	for name, data := range want {
		found := false
		for path, content := range got {
			if (path == name || strings.HasSuffix(path, "/"+name)) && bytes.Equal(content, data) {
				found = true
			}
		}
		if !found {
			return 0, fmt.Errorf("%s is not in %s as it was", name, root)
		}
	}
	return len(want), nil
}

// Tail is the end of a file, for a person who looks for a reason.
func Tail(path string, bytes int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-bytes):])
}
