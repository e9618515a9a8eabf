package secret

import (
	"errors"
	"fmt"
	"log/slog"
)

// Redacted is what a secret prints as.
const Redacted = "[redacted]"

// redacted gives the type that embeds it every method by which Go's packages, and
// those that follow their interfaces, turn a value into text.
type redacted struct{}

// String implements fmt.Stringer.
func (redacted) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (redacted) GoString() string { return Redacted }

// Format implements fmt.Formatter, which every verb goes through.
func (redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue implements slog.LogValuer.
func (redacted) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements encoding.TextMarshaler, which YAML and XML encoders use, the
// latter for elements and attributes.
func (redacted) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON implements json.Marshaler.
func (redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// GobEncode implements gob.GobEncoder. It fails: a gob is meant to be read back.
func (redacted) GobEncode() ([]byte, error) {
	return nil, errors.New("secret: refusing to encode a secret as gob")
}
