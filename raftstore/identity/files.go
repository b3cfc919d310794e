package identity

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Files are the paths of a process's credentials.
type Files struct {
	Certificate string `yaml:"certificate" json:"certificate"`
	Key         string `yaml:"key" json:"key"`
	Authority   string `yaml:"authority" json:"authority"`
}

// nextKey is where the key of the next certificate waits. A certificate and its key are two files, and no two files
// change in one step: the next key is on the disk before its certificate is, and becomes the key after it. So at each
// moment one of the two keys is the certificate's.
func (f Files) nextKey() string { return f.Key + ".next" }

// Read returns a certificate, the key that belongs to it, and the authority, also in the middle of a renewal.
func (f Files) Read() (certPEM, keyPEM, authorityPEM []byte, err error) {
	if certPEM, err = os.ReadFile(f.Certificate); err != nil {
		return nil, nil, nil, fmt.Errorf("load certificate: %w", err)
	}
	if keyPEM, err = os.ReadFile(f.Key); err != nil {
		return nil, nil, nil, fmt.Errorf("load key: %w", err)
	}
	if authorityPEM, err = os.ReadFile(f.Authority); err != nil {
		return nil, nil, nil, fmt.Errorf("load authority: %w", err)
	}
	if !pairs(certPEM, keyPEM) {
		next, err := os.ReadFile(f.nextKey())
		switch {
		case err == nil && pairs(certPEM, next):
			keyPEM = next
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, nil, nil, fmt.Errorf("load next key: %w", err)
		}
	}
	return certPEM, keyPEM, authorityPEM, nil
}

func pairs(certPEM, keyPEM []byte) bool {
	_, err := tls.X509KeyPair(certPEM, keyPEM)
	return err == nil
}

// Write replaces certificate and key. A crash at any point leaves a certificate and its key.
func (f Files) Write(certPEM, keyPEM []byte) error {
	if err := f.settle(); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	err := WriteFile(f.nextKey(), keyPEM, 0o600)
	if err == nil {
		err = WriteFile(f.Certificate, certPEM, 0o644)
	}
	if err == nil {
		err = f.promote()
	}
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

// settle ends what a crash between the two steps left, before the next key is written over.
func (f Files) settle() error {
	next, err := os.ReadFile(f.nextKey())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(f.Certificate)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !pairs(cert, next) {
		return err
	}
	return f.promote()
}

func (f Files) promote() error {
	if err := os.Rename(f.nextKey(), f.Key); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(f.Key))
}

// WriteNew writes what a process starts with, the authority too. It refuses to write over another identity unless it
// may replace it; an authority that is there already has to be the same one.
func (f Files) WriteNew(certPEM, keyPEM, authorityPEM []byte, replace bool) error {
	if err := f.Free(replace); err != nil {
		return err
	}
	present, err := os.ReadFile(f.Authority)
	switch {
	case err == nil && !bytes.Equal(bytes.TrimSpace(present), bytes.TrimSpace(authorityPEM)) && !replace:
		return fmt.Errorf("write authority: %s holds another one: this machine belongs to another platform already. "+
			"If it has left that one for good, give --replace", f.Authority)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write authority: %w", err)
	}
	if err := WriteFile(f.Authority, authorityPEM, 0o644); err != nil {
		return fmt.Errorf("write authority: %w", err)
	}
	return f.Write(certPEM, keyPEM)
}

// Free refuses where there is a certificate or a key already.
func (f Files) Free(replace bool) error {
	for _, path := range []string{f.Certificate, f.Key} {
		_, err := os.Lstat(path)
		switch {
		case err == nil && !replace:
			return fmt.Errorf("%s is there already: this machine has an identity, and a new one would replace it for good. "+
				"Give --replace if that is what you want", path)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("look for an identity: %w", err)
		}
	}
	return nil
}

// WriteFile replaces a file in one step, and returns when that is on the disk. Root writes for the owner of the directory.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = giveTo(f, dir)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// giveTo lets a daemon without root's rights renew in a directory of its own what root wrote there.
func giveTo(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(owner.Uid), int(owner.Gid))
	}
	return nil
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// stamp tells one version of the files from another without reading them.
type stamp struct {
	modified [2]time.Time
	inode    [2]uint64
}

func (f Files) stamp() (s stamp, err error) {
	for i, path := range []string{f.Certificate, f.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return stamp{}, err
		}
		s.modified[i] = info.ModTime()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			s.inode[i] = st.Ino
		}
	}
	return s, nil
}
