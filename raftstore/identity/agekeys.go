package identity

import (
	"fmt"
	"os"
	"strings"

	"filippo.io/age"
)

// ReadAgeIdentities reads the secret age keys (AGE-SECRET-KEY-1…) of a file. An error names file, line and column and
// repeats nothing of what stands there: a slip in a secret key leaves most of it.
func ReadAgeIdentities(file string) ([]age.Identity, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var identities []age.Identity
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, err := age.ParseIdentities(strings.NewReader(line))
		if err != nil { // whose text may hold a part of the line
			return nil, fmt.Errorf("%s:%d:1: want a secret age key, AGE-SECRET-KEY-1… and in one line, as age-keygen writes it (the line is not shown)", file, i+1)
		}
		identities = append(identities, one...)
	}
	if len(identities) == 0 {
		return nil, fmt.Errorf("%s:1:1: want a line AGE-SECRET-KEY-1…, as age-keygen writes it; there is none", file)
	}
	return identities, nil
}

// ParseAgeRecipient reads a recipient (age1…). Its error shows the text only where that begins as a recipient does:
// a secret key in its place is the likeliest slip, and the worst to repeat.
func ParseAgeRecipient(text string) (*age.X25519Recipient, error) {
	r, err := age.ParseX25519Recipient(text)
	switch {
	case err == nil:
		return r, nil
	case strings.HasPrefix(text, "age1"):
		return nil, fmt.Errorf("recipient %q cannot be read: want age1…, in one piece", text)
	case strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"):
		return nil, fmt.Errorf("recipient: this is the secret key (not shown). Its recipient is the age1… that age-keygen -y prints for it")
	}
	return nil, fmt.Errorf("recipient: want age1…; this begins otherwise, and is not shown")
}
