package backup

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/keyring"
)

// TestLayout pins every byte that is not a cipher's: the header, and what binds each
// chunk to its place.
func TestLayout(t *testing.T) {
	h := Header{
		ID: keyring.KeyID{0xab, 1}, Store: keyring.StoreID{0xcd, 2}, Writer: "1.2.3 <dev>",
		Created: time.Date(2026, 3, 1, 13, 0, 0, 123456789, time.FixedZone("", 3600)),
		Wraps: []keyring.Wrap{
			{Provider: "prod", KEKID: "arn:aws:kms:x", KEKVersion: "", Blob: []byte{1, 2, 0xff}},
			{Provider: "dr", KEKID: "file", KEKVersion: "2", Blob: []byte{4}},
		},
		KCV: keyring.KCV{0xee}, LogSize: 42, LogRoot: tlog.Hash{0xfe}, Size: 2*ChunkSize + 1,
	}
	head, err := h.encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = "KRBACKUP\x01\x00\x00\x01\xfb" +
		`{"format":1,"backup_id":"ab010000000000000000000000000000","store_id":"cd020000-0000-0000-0000-000000000000",` +
		`"created":"2026-03-01T12:00:00.123456Z","writer":"1.2.3 \u003cdev\u003e","content":"sqlite","algorithm":"AES-256-GCM",` +
		`"wraps":[{"provider":"prod","kek_id":"arn:aws:kms:x","kek_version":"","blob":"AQL/"},{"provider":"dr","kek_id":"file","kek_version":"2","blob":"BA=="}],` +
		`"kcv":"ee000000000000000000000000000000","log_size":42,"log_root":"/gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","size":2097153}`
	if string(head) != want {
		t.Errorf("the header is\n%q, want\n%q", head, want)
	}

	root, err := keyring.NewRoot(bytes.Repeat([]byte{9}, keyring.RootSize))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChunks(root, h, []byte("head"))
	if err != nil {
		t.Fatal(err)
	}
	const bound = "6b6579726f746f722f6261636b75702f7631" + // keyrotor/backup/v1
		"9f2e6d33a3717ee826353a404ba4618d1aeeb6879ad7936bce8ed5f46814924d" // of SHA-256("head")
	for i, last := range []string{"000000000000000000", "000000000000000100", "000000000000000201"} {
		got := hex.EncodeToString(c.bound())
		if got[:len(bound)] != bound || len(got) != 2*(18+32+9) || got[len(got)-18:] != last {
			t.Errorf("chunk %d is bound to %s", i, got)
		}
		c.advance()
	}
	if c.size() != 0 {
		t.Errorf("%d bytes are left after the last chunk", c.size())
	}
	if chunk, err := c.seal(nil, []byte("x")); err != nil || hex.EncodeToString(chunk[:16]) != "d34b5201ab0100000000000000000001" {
		t.Errorf("a chunk begins with %x, %v", chunk[:16], err)
	}
}
