package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// strictDecoder reads one value after the other, each from bytes of its own. It is kept for the next one: its making
// costs as much as a small value does.
type strictDecoder struct {
	from bytes.Reader
	json *json.Decoder
}

var strictDecoders = sync.Pool{New: func() any {
	d := new(strictDecoder)
	d.json = json.NewDecoder(&d.from)
	d.json.DisallowUnknownFields()
	return d
}}

// decodeStrict refuses fields that it does not know: an older binary that left them out would go its own way.
func decodeStrict(data []byte, into any) error {
	d := strictDecoders.Get().(*strictDecoder)
	d.from.Reset(data)
	if err := d.json.Decode(into); err != nil {
		return err // the decoder may be in the middle of something: it is not used again
	}
	if _, err := d.json.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more after the value")
	}
	d.from.Reset(nil)
	strictDecoders.Put(d)
	return nil
}
