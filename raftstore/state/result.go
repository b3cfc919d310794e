package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// refusal is why a command changed nothing, as one sentence for a person. It survives encoding.
type refusal struct {
	kind     error // ErrNotFound, ErrConflict or ErrInvalid
	sentence string
}

func (r *refusal) Error() string { return r.sentence }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind: kind, sentence: sentence(format, args)}
}

// sentence is text, whatever it repeats. JSON has no other bytes: a row with some would be another one when it is read again,
// and a node that was restored would have another digest than one that was not.
func sentence(format string, args []any) string {
	return strings.ToValidUTF8(fmt.Sprintf(format, args...), "?")
}

// kinds are the names of the errors in encoded results. They are written into snapshots: never change one.
var kinds = map[string]error{"not-found": ErrNotFound, "conflict": ErrConflict, "invalid": ErrInvalid}

type encodedResult struct {
	Kind     string   `json:"kind,omitempty"`
	Sentence string   `json:"sentence,omitempty"`
	Changed  bool     `json:"changed,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	Token    Token    `json:"token,omitzero"`
}

// MarshalJSON keeps the kind of the error, so that errors.Is works on the other side.
func (r Result) MarshalJSON() ([]byte, error) {
	e := encodedResult{Changed: r.Changed, Notes: r.Notes, Token: r.Token}
	if r.Err != nil {
		e.Sentence = r.Err.Error()
		for name, kind := range kinds {
			if errors.Is(r.Err, kind) {
				e.Kind = name
			}
		}
		if e.Kind == "" {
			return nil, fmt.Errorf("encode result: error of no known kind: %w", r.Err)
		}
	}
	return json.Marshal(e)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Result) UnmarshalJSON(data []byte) error {
	var e encodedResult
	if err := decodeStrict(data, &e); err != nil {
		return err
	}
	*r = Result{Changed: e.Changed, Notes: e.Notes, Token: e.Token}
	if e.Kind == "" {
		return nil
	}
	kind, ok := kinds[e.Kind]
	if !ok {
		return fmt.Errorf("decode result: unknown kind of error %q", e.Kind)
	}
	r.Err = &refusal{kind: kind, sentence: e.Sentence}
	return nil
}
