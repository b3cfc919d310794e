package scenario

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

//go:embed accounts.yaml
var accountsYAML []byte

//go:embed homes
var homes embed.FS

// Programs says which of the homes an account of accounts.yaml is filled from.
var Programs = map[state.AccountName]string{
	"guestbook": "guestbook", "forum": "guestbook", "brochure": "static", "gallery": "static", "notes": "python", "counter": "python",
}

// user is the id, inside an account, that its programs run as.
const user = 1000

// Accounts are those of accounts.yaml.
func Accounts() ([]state.Account, error) {
	doc, err := inventory.Parse([]inventory.File{{Name: "accounts.yaml", Data: accountsYAML}})
	if err != nil {
		return nil, err
	}
	return doc.Data.Accounts, nil
}

// ApplyAccounts applies accounts.yaml.
func (p *Platform) ApplyAccounts(ctx context.Context) error {
	return p.Apply(ctx, string(accountsYAML))
}

// Apply applies an inventory.
func (p *Platform) Apply(ctx context.Context, inventory string) error {
	cmd := p.Command(ctx, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(inventory)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("drp apply: %w: %s", err, out)
	}
	return nil
}

// Upload is the customer: it puts an account's program and content into its home, wherever that is now.
func (p *Platform) Upload(ctx context.Context, account state.AccountName) error {
	report, err := p.Status(ctx)
	if err != nil {
		return err
	}
	for _, a := range report.Accounts {
		if a.Account != account {
			continue
		}
		if a.Phase != wire.Running {
			return fmt.Errorf("account %s is not running yet: %s %s", account, a.Phase, a.Message)
		}
		return upload(p.Lab.HomeOf(string(a.Server), string(account)), account)
	}
	return fmt.Errorf("there is no account %s", account)
}

func upload(home string, account state.AccountName) error {
	info, err := os.Stat(home)
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid) + user // the home belongs to the account's own root
	for name, data := range Content(account) {
		path := filepath.Join(home, name)
		for _, dir := range parents(home, path) {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.Chown(dir, owner, owner); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		if err := os.Chown(path, owner, owner); err != nil {
			return err
		}
	}
	return nil
}

// parents are the folders between home and path, the outermost first.
func parents(home, path string) []string {
	var list []string
	for dir := filepath.Dir(path); dir != home; dir = filepath.Dir(dir) {
		list = append([]string{dir}, list...)
	}
	return list
}

// Content is what an account's customer uploads: path in the home → bytes.
func Content(account state.AccountName) map[string][]byte {
	files := map[string][]byte{}
	program := Programs[account]
	root := "homes/" + program
	err := fs.WalkDir(homes, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[strings.TrimPrefix(path, root+"/")], err = homes.ReadFile(path)
		return err
	})
	if err != nil {
		panic("scenario: read embedded homes: " + err.Error())
	}
	if program == "static" {
		files["www/index.html"] = fmt.Appendf(nil, "<h1>%s</h1>\n", account)
		for i := range 20 {
			files[fmt.Sprintf("www/pictures/%02d.bin", i)] = picture(account, i)
		}
	}
	return files
}

// picture is 64 KiB that no other account has.
func picture(account state.AccountName, i int) []byte {
	line := fmt.Appendf(nil, "%s picture %d\n", account, i)
	return bytes.Repeat(line, 64<<10/len(line))
}

// Page is what an account answers at its check's path once its content is there.
func Page(a state.Account) string {
	switch Programs[a.Name] {
	case "static":
		return fmt.Sprintf("<h1>%s</h1>\n", a.Name)
	case "guestbook":
		return "guestbook: "
	}
	return "count "
}

// CheckPage fetches an account at its public addresses, as a visitor would.
func (p *Platform) CheckPage(ctx context.Context, a state.Account) error {
	for _, address := range a.Addresses {
		if err := p.checkPageAt(ctx, a, address); err != nil {
			return err
		}
	}
	return nil
}

func (p *Platform) checkPageAt(ctx context.Context, a state.Account, address netip.Addr) error {
	body, err := p.Get(ctx, address, "/")
	if err != nil {
		return fmt.Errorf("account %s at %s: %w", a.Name, address, err)
	}
	if want := Page(a); !strings.HasPrefix(body, want) {
		return fmt.Errorf("account %s at %s: got %q, want it to begin with %q", a.Name, address, body, want)
	}
	return nil
}
