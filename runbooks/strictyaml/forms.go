package strictyaml

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"
)

type unit struct {
	name string
	in   int64
}

// sizes and durations, the largest first.
var (
	sizes     = [...]unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
	durations = [...]unit{
		{"w", int64(7 * 24 * time.Hour)}, {"d", int64(24 * time.Hour)}, {"h", int64(time.Hour)},
		{"m", int64(time.Minute)}, {"s", int64(time.Second)}, {"ms", int64(time.Millisecond)},
	}
)

var (
	sizeForm     = regexp.MustCompile(`^([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)$`)
	durationForm = regexp.MustCompile(`^(?:[0-9]{1,19}(?:\.[0-9]{1,9})?(?:ms|[wdhms]))+$`)
	durationPart = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)(ms|[wdhms])`)
)

// FormError says why a text is no size or no duration.
type FormError struct{ Message, Fix string }

func (e *FormError) Error() string {
	if e.Fix == "" {
		return e.Message
	}
	return e.Message + "; " + e.Fix
}

// ParseSize reads a size with its unit, 256MiB or 1.5GiB, as bytes. Units of a thousand are refused: they are
// mostly meant as units of 1024.
func ParseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, &FormError{fmt.Sprintf("%q is no size", s), `write a number and a unit, as in "256MiB"`}
	}
	for _, u := range sizes {
		if m[2] != u.name {
			continue
		}
		n, ok := multiply(m[1], u.in)
		if !ok {
			return 0, &FormError{fmt.Sprintf("the size %q is too large, or no whole number of bytes", s), ""}
		}
		return n, nil
	}
	if m[2] == "" {
		return 0, &FormError{fmt.Sprintf("the size %q has no unit", s), fmt.Sprintf("write %q, %q or %q", m[1]+"KiB", m[1]+"MiB", m[1]+"GiB")}
	}
	for _, u := range sizes {
		if strings.EqualFold(u.name[:1], m[2][:1]) && u.name != "B" {
			return 0, &FormError{fmt.Sprintf("the size %q has an unknown unit", s), fmt.Sprintf("write %q", m[1]+u.name)}
		}
	}
	return 0, &FormError{fmt.Sprintf("the size %q has an unknown unit", s), "units are B, KiB, MiB, GiB and TiB"}
}

// FormatSize writes bytes as ParseSize reads them, in the largest unit that needs no fraction.
func FormatSize(n int64) string {
	for _, u := range sizes {
		if n != 0 && n%u.in == 0 {
			return fmt.Sprintf("%d%s", n/u.in, u.name)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// ParseDuration reads 15s, 90m, 1h30m, 7d or 2w. A day has 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	if !durationForm.MatchString(s) {
		return 0, &FormError{fmt.Sprintf("%q is no duration", s), `write a number and a unit (w, d, h, m, s), as in "15m" or "7d"`}
	}
	var sum int64
	for _, part := range durationPart.FindAllStringSubmatch(s, -1) {
		for _, u := range durations {
			if part[2] != u.name {
				continue
			}
			n, ok := multiply(part[1], u.in)
			if !ok || sum > math.MaxInt64-n {
				return 0, &FormError{fmt.Sprintf("the duration %q is too long, or too finely divided", s), ""}
			}
			sum += n
		}
	}
	return time.Duration(sum), nil
}

// FormatDuration writes a duration as ParseDuration reads it: 1d12h, not 36h0m0s. What is finer than a millisecond
// is cut off.
func FormatDuration(d time.Duration) string {
	if d < time.Millisecond {
		return "0s"
	}
	rest, b := int64(d), strings.Builder{}
	for _, u := range durations[1:] { // weeks are read, and written as days
		if n := rest / u.in; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			rest %= u.in
		}
	}
	return b.String()
}

// multiply gives number*in when that is a whole int64.
func multiply(number string, in int64) (int64, bool) {
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, false
	}
	r.Mul(r, new(big.Rat).SetInt64(in))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}
