package database

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"
)

// definersLeftOut hands on what mariadb-dump wrote, without saying who made what runs: the loader makes it, and could
// name nobody else. See giveDefiners. It is no defence; what it misses, the engine refuses.
func definersLeftOut(sql io.Reader) io.Reader {
	return &myFilter{from: bufio.NewReaderSize(sql, 64<<10)}
}

type myFilter struct {
	from   *bufio.Reader
	out    []byte // not read yet
	ended  error
	cut    bool // in the middle of a line that is too long to be looked at
	expect bool // a definer may stand in the next line
}

var (
	// before are the beginnings of the lines that come before one with a definer.
	beforeDefiner = []string{"DELIMITER ;;", "/*!50001 CREATE ALGORITHM=", "/*!50003 SET time_zone "}
	definer       = regexp.MustCompile("^(CREATE |/\\*!50003 CREATE\\*/ |/\\*!50106 CREATE\\*/ )?(/\\*![0-9]+ )?DEFINER=`(?:[^`]|``)*`(?:@`(?:[^`]|``)*`)?")
)

func (f *myFilter) Read(p []byte) (int, error) {
	for len(f.out) == 0 {
		if f.ended != nil {
			return 0, f.ended
		}
		line, err := f.from.ReadSlice('\n')
		begins := !f.cut
		f.cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !f.cut {
			f.ended = err
		}
		if begins && f.expect {
			line = definer.ReplaceAll(line, []byte("$1$2"))
		}
		f.expect = false
		for _, b := range beforeDefiner {
			f.expect = f.expect || begins && !f.cut && strings.HasPrefix(string(line[:min(len(line), len(b))]), b)
		}
		f.out = append(f.out[:0], line...)
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}
