package measure

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
)

// WriteRandom writes a file that does not compress.
func WriteRandom(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, size)
	return errors.Join(err, f.Close())
}
