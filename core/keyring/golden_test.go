package keyring

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is one ciphertext of each form with everything that it depends on.
type golden struct {
	Algorithm Algorithm `json:"algorithm"`
	Root      string    `json:"root"`
	Store     string    `json:"store"`
	KeyID     string    `json:"key_id"`
	KeyName   string    `json:"key_name"`
	Version   uint32    `json:"version"`
	WrapAAD   string    `json:"wrap_aad"`
	KCV       string    `json:"kcv"`
	Plaintext string    `json:"plaintext"`
	AAD       string    `json:"aad"`
	Text      string    `json:"text"`
	Binary    string    `json:"binary"`
}

// goldenBinding is fixed input: a root that counts from 0 and ids that count on.
func goldenBinding(algorithm Algorithm) (rootBytes []byte, b Binding) {
	b = Binding{Version: 7, Algorithm: algorithm}
	for i := range RootSize {
		rootBytes = append(rootBytes, byte(i))
	}
	for i := range b.Store {
		b.Store[i], b.Key[i] = byte(0x40+i), byte(0x80+i)
	}
	return rootBytes, b
}

// TestGoldenCiphertexts opens what an earlier build wrote. A failure means that
// ciphertexts in users' hands would no longer open: change the code, not the file.
func TestGoldenCiphertexts(t *testing.T) {
	files := map[Algorithm]string{
		AES256GCM: "ciphertext-aes256gcm.json", XChaCha20Poly1305: "ciphertext-xchacha20poly1305.json",
	}
	for _, algorithm := range algorithms() {
		file := files[algorithm]
		t.Run(string(algorithm), func(t *testing.T) {
			rootBytes, b := goldenBinding(algorithm)
			root, err := NewRoot(append([]byte(nil), rootBytes...))
			if err != nil {
				t.Fatal(err)
			}
			c := mustCipher(t, root, b, "payments.eu-1")
			path := filepath.Join("testdata", file)
			if *update {
				writeGolden(t, path, root, b, c)
			}
			var g golden
			readJSON(t, path, &g)

			kcv, err := root.KCV(b)
			if err != nil {
				t.Fatal(err)
			}
			if kcv.String() != g.KCV {
				t.Errorf("KCV = %s, the golden file has %s", kcv, g.KCV)
			}
			if got := hex.EncodeToString(b.WrapAAD()); got != g.WrapAAD {
				t.Errorf("WrapAAD = %s, the golden file has %s", got, g.WrapAAD)
			}
			token, err := ParseToken([]byte(g.Text))
			if err != nil {
				t.Fatal(err)
			}
			if string(token.Key) != g.KeyName || token.Version != g.Version {
				t.Errorf("token names %s v%d, want %s v%d", token.Key, token.Version, g.KeyName, g.Version)
			}
			if got, err := c.OpenText(nil, token, []byte(g.AAD)); err != nil || string(got) != g.Plaintext {
				t.Errorf("OpenText = %q, %v", got, err)
			}
			raw, err := hex.DecodeString(g.Binary)
			if err != nil {
				t.Fatal(err)
			}
			bin, err := ParseBinary(raw)
			if err != nil {
				t.Fatal(err)
			}
			if bin.KeyPrefix() != b.Key.Prefix() || bin.Version() != g.Version {
				t.Errorf("binary names %x v%d", bin.KeyPrefix(), bin.Version())
			}
			if got, err := c.OpenBinary(nil, bin, []byte(g.AAD)); err != nil || string(got) != g.Plaintext {
				t.Errorf("OpenBinary = %q, %v", got, err)
			}
		})
	}
}

func writeGolden(t *testing.T, path string, root Root, b Binding, c *Cipher) {
	t.Helper()
	g := golden{
		Algorithm: b.Algorithm, Root: hex.EncodeToString(root.Reveal()), Store: b.Store.String(),
		KeyID: b.Key.String(), KeyName: "payments.eu-1", Version: b.Version,
		WrapAAD: hex.EncodeToString(b.WrapAAD()), Plaintext: "s3cret", AAD: "row 42",
	}
	kcv, err := root.KCV(b)
	if err != nil {
		t.Fatal(err)
	}
	g.KCV = kcv.String()
	text, err := c.AppendText(nil, []byte(g.Plaintext), []byte(g.AAD))
	if err != nil {
		t.Fatal(err)
	}
	bin, err := c.AppendBinary(nil, []byte(g.Plaintext), []byte(g.AAD))
	if err != nil {
		t.Fatal(err)
	}
	g.Text, g.Binary = string(text), hex.EncodeToString(bin)
	out, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// goldenRecord has a value in every field, each another one.
func goldenRecord() (StoreID, *Record) {
	_, b := goldenBinding(AES256GCM)
	at := func(n int64) time.Time { return time.UnixMicro(1_700_000_000_000_000 + n).UTC() }
	kcv := func(first byte) (k KCV) {
		for i := range k {
			k[i] = first + byte(i)
		}
		return k
	}
	return b.Store, &Record{
		ID: b.Key, Name: "payments.eu-1", Created: at(1), Primary: 3,
		Settings: Settings{Algorithm: AES256GCM, MinDecryptVersion: 1, HardLimit: MaxUses, WrapWith: []string{"prod", "dr"}},
		Versions: []Version{
			{
				Number: 1, Label: "v1", State: Deactivated, Algorithm: AES256GCM, Created: at(2), Activated: at(3),
				StateChanged: at(4), Reason: ReasonInitial, KCV: kcv(0x10),
				Wraps: []Wrap{{Provider: "prod", KEKID: "local:kek", KEKVersion: "1", Blob: []byte("blob one"), Created: at(5)}},
			},
			{
				Number: 3, Label: "after the audit", State: Active, Algorithm: XChaCha20Poly1305, Created: at(6), Activated: at(7),
				StateChanged: at(8), Reason: ReasonEmergency, KCV: kcv(0x20),
				Wraps: []Wrap{
					{Provider: "dr", KEKID: "arn:aws:kms:eu-west-1:111122223333:key/1", Blob: []byte("blob dr"), Created: at(9)},
					{Provider: "prod", KEKID: "local:kek", KEKVersion: "2", Blob: []byte("blob prod"), Created: at(10)},
				},
			},
		},
	}
}

// TestGoldenDigest: events in old histories carry these digests, one for each
// encoding.
func TestGoldenDigest(t *testing.T) {
	for file, blockReads := range map[string]bool{"record-digest.txt": false, "record-digest-v2.txt": true} {
		store, rec := goldenRecord()
		rec.Settings.BlockReads = blockReads
		path := filepath.Join("testdata", file)
		got := rec.Digest(store).String() + "\n"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("digest = %s, %s has %s", got, file, want)
		}
	}
}

func TestVerify(t *testing.T) {
	store, rec := goldenRecord()
	digest := rec.Digest(store).String()
	if err := rec.Verify(store, digest); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]error{
		"": ErrNewer, "v3:" + digest[3:]: ErrNewer, digest[3:]: ErrNewer, "v0:" + digest[3:]: ErrNewer,
		digest[:len(digest)-1]: ErrIntegrity, "v1:": ErrIntegrity, "v2:" + digest[3:]: ErrIntegrity,
	} {
		if err := rec.Verify(store, text); !errors.Is(err, want) {
			t.Errorf("Verify(%q) = %v, want %v", text, err, want)
		}
	}
}

// TestDigestCoversEverything changes one field at a time.
func TestDigestCoversEverything(t *testing.T) {
	store, rec := goldenRecord()
	seen := map[Digest]string{rec.Digest(store): "unchanged"}
	changes := map[string]func(*Record){
		"id":             func(r *Record) { r.ID[15]++ },
		"name":           func(r *Record) { r.Name = "payments.eu-2" },
		"created":        func(r *Record) { r.Created = r.Created.Add(time.Microsecond) },
		"primary":        func(r *Record) { r.Primary = 1 },
		"algorithm":      func(r *Record) { r.Settings.Algorithm = XChaCha20Poly1305 },
		"minimum":        func(r *Record) { r.Settings.MinDecryptVersion = 0 },
		"block reads":    func(r *Record) { r.Settings.BlockReads = true },
		"limit":          func(r *Record) { r.Settings.HardLimit-- },
		"wrap with":      func(r *Record) { r.Settings.WrapWith = []string{"dr", "prod"} },
		"number":         func(r *Record) { r.Versions[1].Number = 2 },
		"label":          func(r *Record) { r.Versions[1].Label = "after" },
		"state":          func(r *Record) { r.Versions[0].State = Compromised },
		"version algo":   func(r *Record) { r.Versions[1].Algorithm = AES256GCM },
		"v created":      func(r *Record) { r.Versions[0].Created = time.Time{} },
		"activated":      func(r *Record) { r.Versions[0].Activated = time.Time{} },
		"state changed":  func(r *Record) { r.Versions[0].StateChanged = time.Time{} },
		"reason":         func(r *Record) { r.Versions[0].Reason = ReasonManual },
		"kcv":            func(r *Record) { r.Versions[0].KCV[0]++ },
		"provider":       func(r *Record) { r.Versions[0].Wraps[0].Provider = "dr" },
		"kek":            func(r *Record) { r.Versions[0].Wraps[0].KEKID = "local:other" },
		"kek version":    func(r *Record) { r.Versions[0].Wraps[0].KEKVersion = "" },
		"blob":           func(r *Record) { r.Versions[0].Wraps[0].Blob[0]++ },
		"wrap created":   func(r *Record) { r.Versions[0].Wraps[0].Created = time.Time{} },
		"wrap missing":   func(r *Record) { r.Versions[1].Wraps = r.Versions[1].Wraps[:1] },
		"version gone":   func(r *Record) { r.Versions = r.Versions[1:] },
		"field boundary": func(r *Record) { r.Versions[0].Wraps[0].KEKID += "1"; r.Versions[0].Wraps[0].KEKVersion = "" },
	}
	for name, change := range changes {
		_, changed := goldenRecord()
		change(changed)
		d := changed.Digest(store)
		if other, ok := seen[d]; ok {
			t.Errorf("%s: same digest as %s", name, other)
		}
		seen[d] = name
	}
	store[0]++
	if _, ok := seen[rec.Digest(store)]; ok {
		t.Error("another store has the same digest")
	}
}
