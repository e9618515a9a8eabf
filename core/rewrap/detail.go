package rewrap

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// detail is what the intent of a KEK's rotation says for whoever has to settle it. The
// form is final; fields are only ever added.
type detail struct {
	KEKID string `json:"kek_id"`
	// Expected is the primary that the rotation is to replace.
	Expected string `json:"expected"`
	// RequestID is what the key manager was given.
	RequestID string `json:"request_id"`
	// Pending: the key manager accepted the request and works on it.
	Pending bool `json:"pending,omitempty"`
}

func (d detail) encode() (string, error) {
	b, err := json.Marshal(d)
	return string(b), err
}

func parseDetail(s string) (detail, error) {
	var d detail
	err := json.Unmarshal([]byte(s), &d)
	if err == nil && (d.KEKID == "" || d.Expected == "" || d.RequestID == "") {
		err = errors.New("kek_id, expected and request_id are required")
	}
	if err != nil {
		return detail{}, fmt.Errorf("%w: an unfinished rotation of a key-encryption key says %.200q: %w; finish it with the build that began it", keyring.ErrNewer, s, err)
	}
	return d, nil
}
