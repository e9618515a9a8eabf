package cli

import (
	"time"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/backup"
)

// localType is the provider whose key-encryption keys are in a file of the user's.
const localType = "local"

// The answers of the backup commands. Their JSON form is stable.

type backupView struct {
	// File is in the answer of create, and Verified in that of verify.
	File     string     `json:"file,omitempty"`
	ID       string     `json:"backup_id"`
	Store    string     `json:"store_id"`
	Created  time.Time  `json:"created"`
	Writer   string     `json:"writer"`
	Wraps    []wrapView `json:"wraps"`
	LogSize  uint64     `json:"log_size"`
	LogRoot  string     `json:"log_root"`
	Size     uint64     `json:"size"`
	Verified bool       `json:"verified,omitempty"`
}

type restoredView struct {
	Store     string            `json:"store"`
	StoreID   string            `json:"store_id"`
	Backup    string            `json:"backup_id"`
	Created   time.Time         `json:"created"`
	Operation string            `json:"operation_id"`
	Keys      []restoredKeyView `json:"keys"`
}

type restoredKeyView struct {
	Key string `json:"key"`
	// Primary is the one that it had.
	Primary uint32 `json:"primary"`
}

func viewBackup(h backup.Header) backupView {
	v := backupView{
		ID: h.ID.String(), Store: h.Store.String(), Created: h.Created, Writer: h.Writer,
		Wraps: []wrapView{}, LogSize: h.LogSize, LogRoot: h.LogRoot.String(), Size: h.Size,
	}
	for _, w := range h.Wraps {
		v.Wraps = append(v.Wraps, wrapView{Provider: w.Provider, KEKID: w.KEKID, KEKVersion: w.KEKVersion})
	}
	return v
}

func (a *app) backupCreated(kr *core.Keyrotor, file string, h backup.Header) error {
	view := viewBackup(h)
	view.File = file
	var err error
	switch {
	case file == standard:
		a.Hint("backup %s, wrapped by %s", view.ID, wrappers(view.Wraps))
	case a.JSON:
		err = a.Answer(view)
	default:
		err = a.Printf("%s: backup %s, wrapped by %s\n", console.Printable(file), view.ID, wrappers(view.Wraps))
	}
	for _, p := range kr.Config.Providers {
		if p.Type == localType {
			a.Note("the key-encryption keys of provider %q are NOT in the backup: back up their file, too, and keep the two apart; without the keys the backup opens nothing, and with them it opens everything", p.Name)
		}
	}
	return err
}

func (a *app) backupRestored(path string, r core.RestoredStore) error {
	h := r.Header
	if a.JSON {
		view := restoredView{
			Store: path, StoreID: h.Store.String(), Backup: h.ID.String(), Created: h.Created,
			Operation: r.Operation, Keys: []restoredKeyView{},
		}
		for _, k := range r.Keys {
			view.Keys = append(view.Keys, restoredKeyView{k.Key, k.Primary})
		}
		return a.Answer(view)
	}
	if err := a.Printf("%s: %s as of %s, by backup %s\n", console.Printable(path), count(len(r.Keys), "key"), timeText(h.Created), h.ID); err != nil {
		return err
	}
	a.Hint(`What was encrypted before that decrypts. Encryption is refused until the keys are recovered:
  keyrotor recover PATH...
with every file and folder that holds tokens, so that no version number is used twice.`)
	return nil
}

func (a *app) backupVerified(h backup.Header) error {
	if a.JSON {
		view := viewBackup(h)
		view.Verified = true
		return a.Answer(view)
	}
	return a.Printf("backup %s of %s is intact\n", h.ID, timeText(h.Created))
}

func (a *app) showBackup(h backup.Header) error {
	view := viewBackup(h)
	if a.JSON {
		return a.Answer(view)
	}
	if err := a.Printf(`backup    %s
store     %s
created   %s
written   by keyrotor %s
history   %d events, root %s
size      %d bytes

`, view.ID, view.Store, timeText(view.Created), console.Printable(view.Writer), view.LogSize, view.LogRoot, view.Size); err != nil {
		return err
	}
	rows := make([][]string, 0, len(view.Wraps))
	for _, w := range view.Wraps {
		rows = append(rows, []string{w.Provider, w.KEKID, dash(w.KEKVersion)})
	}
	if err := a.Table([]string{"OPENED BY", "KEK", "VERSION"}, rows); err != nil {
		return err
	}
	a.Hint("Nothing of this is proved: 'keyrotor backup verify' does that.")
	return nil
}
