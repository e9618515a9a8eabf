package destruction

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
)

// WrapsDeleted is what a destruction does.
const WrapsDeleted = "wraps deleted"

// meaning is what an auditor must know of that.
const meaning = "Every wrap of the version was deleted from the store. A backup of the database from before, together with the key-encryption key, still opens it."

// Receipt says what was destroyed, and what that means. Its JSON form is stable.
type Receipt struct {
	// What is WrapsDeleted, and Meaning says it in a sentence.
	What    string `json:"what"`
	Meaning string `json:"meaning"`
	Store   string `json:"store"`
	Key     string `json:"key"`
	KeyID   string `json:"key_id"`
	Version uint32 `json:"version"`
	KCV     string `json:"kcv"`
	// Wraps are those that were deleted, by provider.
	Wraps []DeletedWrap `json:"wraps"`
	// Scheduled and Due are zero if the destruction was forced without a schedule.
	Scheduled time.Time `json:"scheduled,omitzero"`
	Due       time.Time `json:"due,omitzero"`
	Destroyed time.Time `json:"destroyed"`
	Actor     string    `json:"actor"`
	Note      string    `json:"note,omitempty"`
	Operation string    `json:"operation_id"`
	// Event is the number of the event in the history.
	Event uint64 `json:"event"`
	// Forced: what Skipped lists was not looked at.
	Forced  bool     `json:"forced"`
	Skipped []string `json:"skipped"`
	// Attempts are the decryptions that were refused in quarantine.
	Attempts uint64 `json:"attempts"`
	// Census is the last one before the destruction; nil if it was forced.
	Census *Census `json:"census"`
	// Log is the history as of this receipt, the event included.
	Log LogHead `json:"log"`
}

// DeletedWrap says under which key-encryption key a wrap was.
type DeletedWrap struct {
	Provider   string `json:"provider"`
	KEKID      string `json:"kek_id"`
	KEKVersion string `json:"kek_version"`
}

// LogHead is the Merkle tree over the history.
type LogHead struct {
	Size uint64 `json:"size"`
	// Root is in base64.
	Root string `json:"root"`
}

// skippable are the checks that force passes over.
func skippable() []string { return []string{"period", "attempts", "census"} }

// destroyed is what the event of a destruction says beside what every event does.
type destroyed struct {
	forced bool
	// schedule and census are nil where there were none.
	schedule *schedule
	census   *Census
	attempts uint64
}

// details are those of the event: with them, the receipt can be written again. The
// names are final.
func (end destroyed) details(v *keyring.Version) map[string]string {
	details := map[string]string{
		"what": WrapsDeleted, "kcv": v.KCV.String(), "attempts": strconv.FormatUint(end.attempts, 10),
	}
	for _, w := range v.Wraps {
		details["kek_id."+w.Provider] = w.KEKID
		details["kek_version."+w.Provider] = w.KEKVersion
	}
	if end.forced {
		details["forced"], details["skipped"] = "true", strings.Join(skippable(), ",")
	}
	if s := end.schedule; s != nil {
		details["scheduled"], details["due"] = s.scheduled.Format(time.RFC3339Nano), s.due.Format(time.RFC3339Nano)
	} else {
		details["from"] = string(v.State)
	}
	if end.census != nil {
		end.census.details(details)
	}
	return details
}

// Receipt writes the receipt of a version that was destroyed, from its event.
func (d *Destroyer) Receipt(ctx context.Context, name string, version uint32) (Receipt, error) {
	_, v, err := d.version(ctx, name, version)
	if err != nil {
		return Receipt{}, err
	}
	if v.State != keyring.Destroyed {
		return Receipt{}, fmt.Errorf("%w: version %d of key %q is %s, not destroyed", keyring.ErrState, version, name, v.State)
	}
	event, err := d.newest(ctx, history.Destroyed, name, version)
	if err != nil {
		return Receipt{}, err
	}
	size, root, err := d.Store.Root(ctx)
	if err != nil {
		return Receipt{}, err
	}
	r := Receipt{
		What: event.Details["what"], Meaning: meaning, Store: d.Store.ID().String(),
		Key: event.Key, KeyID: event.KeyID, Version: event.Version, KCV: event.Details["kcv"],
		Wraps: deletedWraps(event.Details), Destroyed: event.Time,
		Actor: event.Actor, Note: event.Note, Operation: event.Operation, Event: event.Seq,
		Forced: event.Details["forced"] == "true", Skipped: []string{},
		Census: readCensus(event.Details), Log: LogHead{size, root.String()},
	}
	if list := event.Details["skipped"]; list != "" {
		r.Skipped = strings.Split(list, ",")
	}
	// What is not there, or not readable, stays zero: the event itself is the proof.
	r.Scheduled, _ = time.Parse(time.RFC3339Nano, event.Details["scheduled"])
	r.Due, _ = time.Parse(time.RFC3339Nano, event.Details["due"])
	r.Attempts, _ = strconv.ParseUint(event.Details["attempts"], 10, 64)
	return r, nil
}

func deletedWraps(details map[string]string) []DeletedWrap {
	wraps := []DeletedWrap{}
	for name, id := range details {
		if provider, ok := strings.CutPrefix(name, "kek_id."); ok {
			wraps = append(wraps, DeletedWrap{Provider: provider, KEKID: id, KEKVersion: details["kek_version."+provider]})
		}
	}
	slices.SortFunc(wraps, func(a, b DeletedWrap) int { return strings.Compare(a.Provider, b.Provider) })
	return wraps
}
