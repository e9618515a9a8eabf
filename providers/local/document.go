package local

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/keyrotor/keyrotor/core/provider"
)

const (
	formatName    = "keyrotor-local-kek"
	formatVersion = 1

	checksumDomain = "keyrotor/local-kek/v1/checksum"
	macDomain      = "keyrotor/local-kek/v1/mac"

	// maxFileSize has room for more than ten thousand KEK versions.
	maxFileSize = 4 << 20
)

// document is the file, as JSON. The format is final.
//
//   - mac: HMAC-SHA256 under a key from the passphrase, over a domain that names the
//     version, and the content; in sealed files only.
//   - checksum: SHA-256 over a domain, the content and the mac (empty if there is
//     none): it finds damage without the passphrase.
//
// Both take the content with its insignificant white space removed, and each part
// after its length, see lengthPrefixed.
type document struct {
	Format   string          `json:"format"`
	Version  int             `json:"version"`
	Content  json.RawMessage `json:"content"`
	MAC      []byte          `json:"mac,omitempty"`
	Checksum []byte          `json:"checksum"`
}

// content is what the document protects. Byte strings are base64.
type content struct {
	ID      fileID      `json:"id"`
	Created time.Time   `json:"created"`
	Seal    *sealParams `json:"seal,omitempty"`
	Primary uint32      `json:"primary"`
	// Rotation is the newest one, if its request had an id.
	Rotation *rotation `json:"rotation,omitempty"`
	// KEKs ascend by version.
	KEKs []kek `json:"keks"`
}

// rotation lets the same request be answered twice and done once.
type rotation struct {
	RequestID string `json:"request_id"`
	Old       uint32 `json:"old"`
	New       uint32 `json:"new"`
}

// kek is one version: a bare key of 32 bytes, or in sealed files nonce,
// ciphertext and tag. A destroyed version has none.
type kek struct {
	Version uint32            `json:"version"`
	Created time.Time         `json:"created"`
	State   provider.KeyState `json:"state"`
	Key     []byte            `json:"key,omitempty"`
}

// fileID is the random UUID of a KEK file; the KEK's resource name carries it.
type fileID = uuid.UUID

func kekID(id fileID) string { return "local:" + id.String() }

func (c *content) kek(version uint32) *kek {
	for i := range c.KEKs {
		if c.KEKs[i].Version == version {
			return &c.KEKs[i]
		}
	}
	return nil
}

// wipe clears the keys, which are bare in an unsealed file.
func (c *content) wipe() {
	for i := range c.KEKs {
		clear(c.KEKs[i].Key)
	}
}

// authenticate says whether the file is the one that the sealer's passphrase
// sealed. canonical is what decode answered.
func (c *content) authenticate(s *sealer, canonical, mac []byte) error {
	if !hmac.Equal(s.check, c.Seal.Check) {
		return provider.Errorf(provider.Unauthenticated, "%w: configure the one it was created with", ErrWrongPassphrase)
	}
	if !hmac.Equal(s.sum(canonical), mac) {
		return provider.Errorf(provider.Integrity, "%w: the passphrase is right and the content is not as it was sealed: "+
			"restore it from a backup", ErrTampered)
	}
	return nil
}

// encode writes the file; s is nil for an unsealed one. The caller wipes the answer.
func encode(c *content, s *sealer) ([]byte, error) {
	canonical, err := json.Marshal(c)
	if err != nil {
		return nil, provider.Errorf(provider.Internal, "encoding the KEK file: %w", err)
	}
	defer clear(canonical)
	doc := document{Format: formatName, Version: formatVersion, Content: canonical}
	if s != nil {
		doc.MAC = s.sum(canonical)
	}
	doc.Checksum = checksum(canonical, doc.MAC)
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, provider.Errorf(provider.Internal, "encoding the KEK file: %w", err)
	}
	data = append(data, '\n')
	if len(data) > maxFileSize {
		clear(data)
		return nil, provider.Errorf(provider.LimitExceeded, "the KEK file has %d versions and no room for another: "+
			"create a new one and wrap the keys with that", len(c.KEKs))
	}
	return data, nil
}

// decode reads the file as far as that goes without its passphrase. It also
// answers the exact bytes that the MAC covers, and the MAC; the caller wipes
// content and canonical.
func decode(data []byte) (c *content, canonical, mac []byte, err error) {
	if err := checkFormat(data); err != nil {
		return nil, nil, nil, err
	}
	var doc document
	if err := decodeStrictly(data, &doc); err != nil {
		return nil, nil, nil, corruptError("%v", err)
	}
	defer clear(doc.Content)
	var buf bytes.Buffer
	buf.Grow(len(doc.Content))
	if err := json.Compact(&buf, doc.Content); err != nil {
		return nil, nil, nil, corruptError("%v", err)
	}
	canonical = buf.Bytes()
	if !bytes.Equal(checksum(canonical, doc.MAC), doc.Checksum) {
		clear(canonical)
		return nil, nil, nil, corruptError("its checksum does not match")
	}
	c, err = decodeContent(canonical, len(doc.MAC))
	if err != nil {
		clear(canonical)
		return nil, nil, nil, err
	}
	return c, canonical, doc.MAC, nil
}

func decodeContent(canonical []byte, macSize int) (*content, error) {
	c := new(content)
	if err := decodeStrictly(canonical, c); err != nil {
		c.wipe()
		return nil, corruptError("%v", err)
	}
	if err := c.validate(macSize); err != nil {
		c.wipe()
		return nil, err
	}
	return c, nil
}

// checkFormat comes first: what follows the version is for that version to define.
func checkFormat(data []byte) error {
	if len(data) == 0 {
		return corruptError("it is empty")
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return corruptError("%v", err)
	}
	if head.Format != formatName {
		return configError(attrPath, "%w: its format is %q, not %q", ErrNotKEKFile, head.Format, formatName)
	}
	if head.Version != formatVersion {
		return provider.Errorf(provider.Unsupported, "%w: version %d, this build knows %d: use a newer build",
			ErrFormatVersion, head.Version, formatVersion)
	}
	return nil
}

func (c *content) validate(macSize int) error {
	keyLen, macLen := keySize, 0
	if c.Seal != nil {
		if err := c.Seal.validate(); err != nil {
			return err
		}
		keyLen, macLen = sealedSize, sha256.Size
	}
	if macSize != macLen {
		return corruptError("its MAC has %d bytes, not %d", macSize, macLen)
	}
	var last uint32
	for _, k := range c.KEKs {
		if k.Version <= last {
			return corruptError("KEK version %d follows %d", k.Version, last)
		}
		last = k.Version
		if err := k.validate(keyLen); err != nil {
			return err
		}
	}
	if p := c.kek(c.Primary); p == nil || p.State != provider.KeyEnabled {
		return corruptError("its primary, KEK version %d, is missing or not enabled", c.Primary)
	}
	if c.ID == uuid.Nil {
		return corruptError("it has no id")
	}
	if r := c.Rotation; r != nil && (r.New != c.Primary || c.kek(r.Old) == nil) {
		return corruptError("its last rotation was from KEK version %d to %d, and the primary is %d", r.Old, r.New, c.Primary)
	}
	return nil
}

func (k *kek) validate(keyLen int) error {
	switch k.State {
	case provider.KeyEnabled, provider.KeyDisabled:
	case provider.KeyDestroyed:
		keyLen = 0
	default:
		return corruptError("KEK version %d has the unknown state %q", k.Version, k.State)
	}
	if len(k.Key) != keyLen {
		return corruptError("KEK version %d has %d bytes, not %d", k.Version, len(k.Key), keyLen)
	}
	return nil
}

func checksum(canonical, mac []byte) []byte {
	covered := lengthPrefixed([]byte(checksumDomain), canonical, mac)
	defer clear(covered)
	sum := sha256.Sum256(covered)
	return sum[:]
}

func decodeStrictly(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}
