package replicator

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Withheld is how much of an object is kept back until its hash is known to be right.
const Withheld = 64 << 10

var (
	// ErrBrokeOff is an object whose content ended before its time on its way to a store.
	ErrBrokeOff = errors.New("the content broke off")

	errStopped = errors.New("the request has ended")
)

// Verified is an object on its way to a store. It lets everything through but the last part, and that only when the
// SHA-256 of the whole is what it should be and release agrees; else it breaks off, and the store has no object. So an
// object passes that is in no memory as a whole.
//
// The store's transport may still be reading when its answer is here already, hence the lock.
type Verified struct {
	from    io.Reader
	want    string // SHA-256, hexadecimal; empty: the store judges
	release func() error

	mu   sync.Mutex
	hash hash.Hash
	left int64 // bytes of the content not yet read
	tail []byte
	held bool // tail has been read and found right
	read bool // somebody has begun
	err  error
}

// NewVerified reads an object of the given size. Without a sum nothing is hashed here: the store alone judges. release is called once, when all of it has been found to be right; nil:
// nothing else is asked.
func NewVerified(from io.Reader, size int64, sum string, release func() error) *Verified {
	v := &Verified{from: from, want: sum, left: size, release: release}
	if sum != "" {
		v.hash = sha256.New()
	}
	return v
}

func (v *Verified) Read(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return 0, v.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	v.read = true
	if v.left > Withheld {
		n, err := v.from.Read(p[:min(int64(len(p)), v.left-Withheld)])
		if v.hash != nil {
			v.hash.Write(p[:n])
		}
		v.left -= int64(n)
		if err != nil {
			v.err = fmt.Errorf("%w: %w", ErrBrokeOff, err)
		}
		return n, v.err
	}
	if !v.held {
		if v.err = v.judge(); v.err != nil {
			return 0, v.err
		}
		v.held = true
	}
	if len(v.tail) == 0 {
		return 0, io.EOF
	}
	n := copy(p, v.tail)
	v.tail = v.tail[n:]
	return n, nil
}

// judge reads the last part and decides.
func (v *Verified) judge() error {
	v.tail = make([]byte, v.left)
	if _, err := io.ReadFull(v.from, v.tail); err != nil {
		return fmt.Errorf("%w: %w", ErrBrokeOff, err)
	}
	v.left = 0
	if v.hash != nil {
		v.hash.Write(v.tail)
		if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want {
			return fmt.Errorf("%w: the content's SHA-256 is not its name", ErrBroken)
		}
	}
	if v.release == nil {
		return nil
	}
	return v.release()
}

// Stop ends all reading; whoever still reads gets an error.
func (v *Verified) Stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.err = errStopped
	}
}

// Failure is why the object broke off on our side, nil when it did not: ErrBrokeOff, ErrBroken, or what release said.
// After it the store's own answer says nothing more: it only saw its request end.
func (v *Verified) Failure() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Untouched tells whether nothing of the content was taken yet: then it can be offered again.
func (v *Verified) Untouched() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.read
}
