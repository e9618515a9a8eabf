package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/store"
)

// The answers of the key commands. Their JSON form is stable.

type wrapView struct {
	Provider   string     `json:"provider"`
	KEKID      string     `json:"kek_id"`
	KEKVersion string     `json:"kek_version"`
	Created    *time.Time `json:"created,omitempty"`
}

type createdView struct {
	Name    string     `json:"name"`
	ID      string     `json:"id"`
	Primary uint32     `json:"primary"`
	Version uint32     `json:"version"`
	Wraps   []wrapView `json:"wraps"`
}

type rotatedView struct {
	Key       string     `json:"key"`
	Previous  uint32     `json:"previous"`
	Primary   uint32     `json:"primary"`
	Reason    string     `json:"reason"`
	Operation string     `json:"operation_id"`
	Wraps     []wrapView `json:"wraps"`
}

type keyLine struct {
	Name      string            `json:"name"`
	Primary   uint32            `json:"primary"`
	Versions  int               `json:"versions"`
	Algorithm keyring.Algorithm `json:"algorithm"`
	WrapWith  []string          `json:"wrap_with"`
	Created   time.Time         `json:"created"`
}

type keyView struct {
	Name      string            `json:"name"`
	ID        string            `json:"id"`
	Primary   uint32            `json:"primary"`
	Algorithm keyring.Algorithm `json:"algorithm"`
	Created   time.Time         `json:"created"`
	Settings  settingsView      `json:"settings"`
	// Versions are the newest first.
	Versions []versionView `json:"versions"`
}

type settingsView struct {
	WrapWith          []string `json:"wrap_with"`
	MinDecryptVersion uint32   `json:"min_decrypt_version"`
	BlockReads        bool     `json:"block_reads"`
	HardLimit         uint64   `json:"hard_limit"`
}

type versionView struct {
	Version      uint32            `json:"version"`
	Label        string            `json:"label"`
	State        keyring.State     `json:"state"`
	Primary      bool              `json:"primary"`
	Algorithm    keyring.Algorithm `json:"algorithm"`
	Created      time.Time         `json:"created"`
	Activated    time.Time         `json:"activated,omitzero"`
	StateChanged time.Time         `json:"state_changed"`
	Reason       keyring.Reason    `json:"reason"`
	Uses         uint64            `json:"uses"`
	KCV          string            `json:"kcv"`
	Wraps        []wrapView        `json:"wraps"`
}

func viewWraps(wraps []keyring.Wrap) []wrapView {
	views := make([]wrapView, 0, len(wraps))
	for _, w := range wraps {
		created := w.Created.UTC()
		views = append(views, wrapView{Provider: w.Provider, KEKID: w.KEKID, KEKVersion: w.KEKVersion, Created: &created})
	}
	return views
}

// wrapsOf answers the wraps of one version.
func wrapsOf(key store.Key, version uint32) []wrapView {
	v, ok := key.Version(version)
	if !ok {
		return []wrapView{}
	}
	return viewWraps(v.Wraps)
}

func viewKey(key store.Key) keyView {
	view := keyView{
		Name: key.Name, ID: key.ID.String(), Primary: key.Primary,
		Algorithm: key.Settings.Algorithm, Created: key.Created.UTC(),
		Settings: settingsView{
			WrapWith:          notNil(key.Settings.WrapWith),
			MinDecryptVersion: key.Settings.MinDecryptVersion,
			BlockReads:        key.Settings.BlockReads,
			HardLimit:         key.Settings.HardLimit,
		},
		Versions: make([]versionView, 0, len(key.Versions)),
	}
	for _, v := range slices.Backward(key.Versions) {
		view.Versions = append(view.Versions, viewVersion(&v, v.Number == key.Primary, key.Uses[v.Number]))
	}
	return view
}

func viewVersion(v *keyring.Version, primary bool, uses uint64) versionView {
	return versionView{
		Version: v.Number, Label: v.Label, State: v.State, Primary: primary,
		Algorithm: v.Algorithm, Created: v.Created.UTC(), Activated: v.Activated.UTC(),
		StateChanged: v.StateChanged.UTC(), Reason: v.Reason, Uses: uses,
		KCV: v.KCV.String(), Wraps: viewWraps(v.Wraps),
	}
}

func (a *app) keyCreated(key store.Key) error {
	wraps := wrapsOf(key, key.Primary)
	if a.JSON {
		return a.Answer(createdView{
			Name: key.Name, ID: key.ID.String(), Primary: key.Primary, Version: key.Primary, Wraps: wraps,
		})
	}
	if err := a.Printf("key %s: version %d, wrapped by %s\n", key.Name, key.Primary, wrappers(wraps)); err != nil {
		return err
	}
	a.Hint("Next: printf 's3cret' | keyrotor encrypt %s", key.Name)
	return nil
}

func (a *app) keyRotated(r rotation.Result, reason string) error {
	wraps := wrapsOf(r.Key, r.Primary)
	if a.JSON {
		return a.Answer(rotatedView{
			Key: r.Key.Name, Previous: r.Previous, Primary: r.Primary, Reason: reason, Operation: r.Operation, Wraps: wraps,
		})
	}
	err := a.Printf("key %s: version %d is the primary, before it %d; wrapped by %s\n", r.Key.Name, r.Primary, r.Previous, wrappers(wraps))
	if err != nil {
		return err
	}
	a.Hint("Tokens of older versions stay readable; `keyrotor reencrypt PATH...` brings them to version %d.", r.Primary)
	return nil
}

func (a *app) listKeys(ctx context.Context, kr *core.Keyrotor) error {
	names, err := kr.Keys(ctx)
	if err != nil {
		return err
	}
	keys := make([]keyLine, 0, len(names))
	for _, name := range names {
		key, err := kr.Describe(ctx, name)
		if err != nil {
			return err
		}
		keys = append(keys, keyLine{
			Name: name, Primary: key.Primary, Versions: len(key.Versions), Algorithm: key.Settings.Algorithm,
			WrapWith: notNil(key.Settings.WrapWith), Created: key.Created.UTC(),
		})
	}
	if a.JSON {
		return a.Answer(map[string][]keyLine{"keys": keys})
	}
	if len(keys) == 0 {
		a.Hint("There are no keys yet: keyrotor key create NAME")
		return nil
	}
	rows := make([][]string, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, []string{
			k.Name, versionText(k.Primary), strconv.Itoa(k.Versions), string(k.Algorithm), joined(k.WrapWith), timeText(k.Created),
		})
	}
	return a.Table([]string{"NAME", "PRIMARY", "VERSIONS", "ALGORITHM", "WRAPPED BY", "CREATED"}, rows)
}

func (a *app) showKey(key store.Key) error {
	view := viewKey(key)
	if a.JSON {
		return a.Answer(view)
	}
	minimum := "none"
	if m := view.Settings.MinDecryptVersion; m > 0 {
		minimum = versionText(m)
	}
	compromised := "readable, with a warning"
	if view.Settings.BlockReads {
		compromised = "blocked"
	}
	if err := a.Printf(`name                     %s
id                       %s
primary                  %s
algorithm                %s
wrapped by               %s
minimum decrypt version  %s
compromised versions     %s
hard limit               %d uses a version
created                  %s

`, view.Name, view.ID, versionText(view.Primary), view.Algorithm, joined(view.Settings.WrapWith), minimum, compromised,
		view.Settings.HardLimit, timeText(view.Created)); err != nil {
		return err
	}
	rows := make([][]string, 0, len(view.Versions))
	for _, v := range view.Versions {
		rows = append(rows, []string{
			labeled(v.Version, v.Label), string(v.State), string(v.Reason), strconv.FormatUint(v.Uses, 10), wrappers(v.Wraps), timeText(v.Created),
		})
	}
	return a.Table([]string{"VERSION", "STATE", "REASON", "USES", "WRAPPED BY", "CREATED"}, rows)
}

// wrappers names who wrapped a version, and with which version of its key.
func wrappers(wraps []wrapView) string {
	texts := make([]string, 0, len(wraps))
	for _, w := range wraps {
		text := w.Provider
		if w.KEKVersion != "" {
			text += " (KEK version " + w.KEKVersion + ")"
		}
		texts = append(texts, text)
	}
	return joined(texts)
}

func versionText(number uint32) string {
	if number == 0 {
		return "none"
	}
	return keyring.VersionLabel(number)
}

// labeled is what commands take for a version, and its label, if that is another.
func labeled(number uint32, label string) string {
	text := keyring.VersionLabel(number)
	if label != text {
		text += " (" + label + ")"
	}
	return text
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func joined(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// notNil makes an empty list [] in JSON.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// shellQuoted makes a word that a POSIX shell takes as it is.
func shellQuoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
