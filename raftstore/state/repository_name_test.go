package state

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseRepositoryName(t *testing.T) {
	for _, test := range []struct {
		name    string
		account AccountName
		number  int
	}{
		{"guestbook", "guestbook", 0},
		{"guestbook~2", "guestbook", 2},
		{"a.b-c_d~10", "a.b-c_d", 10},
	} {
		account, number, err := ParseRepositoryName(test.name)
		if err != nil || account != test.account || number != test.number {
			t.Errorf("%q: got %q, %d, %v, want %q, %d", test.name, account, number, err, test.account, test.number)
		}
	}
	for _, bad := range []string{
		"", "~2", "guestbook~", "guestbook~0", "guestbook~1", "guestbook~02", "guestbook~+2", "guestbook~-2", "guestbook~2~3", "guestbook~x",
		"guestbook~99999999999999999999", "../x", "a/b", ".trash", "guest book",
	} {
		if account, number, err := ParseRepositoryName(bad); err == nil {
			t.Errorf("%q: got account %q, number %d, want an error", bad, account, number)
		}
	}
}

// No two repositories have one name, and no name that an account can have is that of another's later repository.
func TestProperty_RepositoryNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		account := AccountName(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,62}`).Draw(t, "account"))
		number := rapid.OneOf(rapid.Just(0), rapid.IntRange(2, 1<<30)).Draw(t, "number")
		name := (&Repository{Account: account, Number: number}).Name()
		gotAccount, gotNumber, err := ParseRepositoryName(name)
		if err != nil || gotAccount != account || gotNumber != number {
			t.Fatalf("%q: got %q, %d, %v, want %q, %d", name, gotAccount, gotNumber, err, account, number)
		}
		if number != 0 && checkName("account", name) == nil {
			t.Fatalf("an account may be called %q, as a later repository of account %q is", name, account)
		}
	})
}
