package state

import (
	"fmt"
	"strconv"
	"strings"
)

// repositoryMark stands between an account and the number of a later repository of it. It is in no account's name, so
// that no account's repository ever lies where another's is looked for.
const repositoryMark = "~"

// RepositoryName is what workers, gateways and stores know a repository by: it is the prefix of its objects. An account's
// first repository bears the account's name and number 0; the N-th one is ACCOUNT~N.
func RepositoryName(a AccountName, number int) string {
	if number == 0 {
		return string(a)
	}
	return string(a) + repositoryMark + strconv.Itoa(number)
}

// ParseRepositoryName reads what RepositoryName wrote, and nothing else.
func ParseRepositoryName(name string) (a AccountName, number int, err error) {
	account, rest, numbered := strings.Cut(name, repositoryMark)
	if numbered {
		number, err = strconv.Atoi(rest)
	}
	a = AccountName(account)
	if err != nil || !nameForm.MatchString(account) || numbered && number < 2 || RepositoryName(a, number) != name {
		return "", 0, fmt.Errorf("parse name of a repository %q: want ACCOUNT, or ACCOUNT%sN with N from 2 on", name, repositoryMark)
	}
	return a, number, nil
}

// Next is the number of the repository that would take this one's place.
func (r *Repository) Next() int { return max(r.Number, 1) + 1 }

// Row is the name as rows about copies of the repository bear it where those of a first one have the account: Replication,
// Verification, and the commands that make them.
func (r *Repository) Row() AccountName { return AccountName(r.Name()) }

// Name of the repository. See RepositoryName.
func (r *Repository) Name() string { return RepositoryName(r.Account, r.Number) }
