package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"unsafe"
)

// kind is how a type is turned into bytes.
type kind int

const (
	structured kind = iota // by way of JSON
	text
	octets
)

func kindOf[T any]() kind {
	switch t := reflect.TypeFor[T](); {
	case t.Kind() == reflect.String:
		return text
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return octets
	default:
		return structured
	}
}

// encode answers v in a buffer of its own, never nil.
func encode[T any](v T) ([]byte, error) {
	switch kindOf[T]() {
	case text:
		return []byte(*(*string)(unsafe.Pointer(&v))), nil //nolint:gosec // T's kind is string
	case octets:
		return append([]byte{}, *(*[]byte)(unsafe.Pointer(&v))...), nil //nolint:gosec // T's kind is a slice of bytes
	default:
		return encodeJSON(v)
	}
}

// encodeJSON refuses what would come back as something else, now and not when the
// secret is needed: unexported fields, and above all secrets, which redact themselves.
// What the encoder says is left out of errors, since it may quote the value.
func encodeJSON[T any](v T) ([]byte, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: a %T cannot be held as JSON: use a string or []byte", ErrEncoding, v)
	}
	back, err := decode[T](encoded)
	if err != nil || !reflect.DeepEqual(v, back) {
		clear(encoded)
		return nil, fmt.Errorf("%w: a %T does not come back from JSON as it was (unexported fields, secrets in it, a time with a monotonic clock?): use a string or []byte", ErrEncoding, v)
	}
	return encoded, nil
}

// view is the secret that b holds, sharing its memory where T allows that.
func view[T any](b []byte) (v T, err error) {
	switch kindOf[T]() {
	case text:
		*(*string)(unsafe.Pointer(&v)) = unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // T's kind is string
		return v, nil
	case octets:
		*(*[]byte)(unsafe.Pointer(&v)) = b //nolint:gosec // T's kind is a slice of bytes
		return v, nil
	default:
		if err := json.Unmarshal(b, &v); err != nil {
			var zero T
			return zero, fmt.Errorf("%w: it does not hold JSON for the type %T", ErrEncoding, zero)
		}
		return v, nil
	}
}

// decode is view, but that a string has memory of its own.
func decode[T any](b []byte) (T, error) {
	if kindOf[T]() == text {
		b = bytes.Clone(b)
	}
	return view[T](b)
}
