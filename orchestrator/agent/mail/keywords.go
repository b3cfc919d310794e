package mail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// mostKeywords is how many a Maildir can have: one small letter for each.
const mostKeywords = 26

// letters turns the keywords in a message's flags from what the snapshot's folder means by a letter into what the target's
// does. nil: they mean the same.
type letters map[byte]byte

// keywordsFile says which letter is which keyword: lines of a number and a word.
const keywordsFile = "dovecot-keywords"

// keywordsOf reads both sides. Where the target says nothing, the snapshot's file will be the target's.
func keywordsOf(from, into *os.File) (letters, error) {
	theirs, err := readKeywords(from)
	if theirs == nil || err != nil {
		return nil, err
	}
	ours, err := readKeywords(into)
	if ours == nil || err != nil {
		return nil, err
	}
	l := letters{}
	for letter, word := range theirs {
		for other, same := range ours {
			if word == same {
				l[letter] = other
			}
		}
	}
	return l, nil
}

// flags is what they are in the target. A keyword that it does not know is dropped: under its letter it would be another.
func (l letters) flags(flags string) string {
	if l == nil || !strings.HasPrefix(flags, ":2,") {
		return flags
	}
	out := []byte(":2,")
	for _, f := range []byte(flags[3:]) {
		if f < 'a' || f > 'z' {
			out = append(out, f)
		} else if other, known := l[f]; known {
			out = append(out, other)
		}
	}
	return string(out)
}

func readKeywords(dir *os.File) (map[byte]string, error) {
	f, err := openFile(dir, keywordsFile)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, 64<<10)
	n, err := f.ReadAt(raw, 0)
	if err != nil && n == 0 && !isEOF(err) {
		return nil, fmt.Errorf("read %s: %w", keywordsFile, err)
	}
	known := map[byte]string{}
	for lines := bufio.NewScanner(bytes.NewReader(raw[:n])); lines.Scan(); {
		number, word, ok := strings.Cut(lines.Text(), " ")
		if at, err := strconv.Atoi(number); ok && err == nil && at >= 0 && at < mostKeywords {
			known['a'+byte(at)] = word
		}
	}
	return known, nil
}
