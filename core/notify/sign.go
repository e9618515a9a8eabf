package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core/secret"
)

// The headers of Standard Webhooks.
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

// MinSecret is how many bytes a webhook's secret has at least.
const MinSecret = 24

// secretPrefix stands before a secret in base64, as Standard Webhooks writes it.
const secretPrefix = "whsec_"

// signingKey reads a secret: base64 after "whsec_", and without that the text itself. The
// key is a copy.
func signingKey(s secret.Bytes) (secret.Bytes, error) {
	var key secret.Bytes
	if encoded, ok := bytes.CutPrefix(s.Reveal(), []byte(secretPrefix)); ok {
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
		n, err := base64.StdEncoding.Strict().Decode(decoded, encoded)
		if err != nil { // its words may show a part of the secret
			clear(decoded)
			return secret.Bytes{}, errors.New("what follows whsec_ in the secret is not base64: take it over as the receiver shows it, padding included")
		}
		key = secret.New(decoded[:n])
	} else {
		key = s.Clone()
	}
	if n := key.Len(); n < MinSecret {
		key.Wipe()
		return secret.Bytes{}, fmt.Errorf("the secret has %d bytes: it must have %d at least: `echo whsec_$(openssl rand -base64 32)` makes one", n, MinSecret)
	}
	return key, nil
}

// sign adds the headers by which the receiver knows who sent the body, and when. at is
// the time of this try: a receiver refuses what is older than five minutes.
func sign(h http.Header, key secret.Bytes, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key.Reveal())
	for _, part := range [][]byte{[]byte(id), []byte("."), []byte(timestamp), []byte("."), body} {
		mac.Write(part) // it never fails
	}
	h.Set(headerID, id)
	h.Set(headerTimestamp, timestamp)
	h.Set(headerSignature, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
