package accountinit

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestRing(t *testing.T) {
	const limit = 64 << 10
	path := filepath.Join(t.TempDir(), "log")
	r := openRing(path, limit)
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	for range 3 * limit / len(line) {
		if n, err := r.Write(line); n != len(line) || err != nil {
			t.Fatalf("write = %d, %v", n, err)
		}
	}
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil || info.Size() == 0 || info.Size() > limit+int64(len(line)) {
			t.Errorf("%s: %v, %v; want it between nothing and the limit", name, info, err)
		}
	}
	lost := openRing(filepath.Join(path, "impossible"), limit)
	if n, err := lost.Write(line); n != len(line) || err != nil {
		t.Errorf("write without a file = %d, %v; want it lost in silence", n, err)
	}
}
