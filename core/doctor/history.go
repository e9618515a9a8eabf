package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/rewrap"
	"github.com/keyrotor/keyrotor/core/store"
)

const (
	historySequence check = "history.sequence"
	historyTree     check = "history.tree"
	historyColumns  check = "history.columns"
	historyClock    check = "history.clock"
)

const (
	// clockSlack is what a clock may be off without a finding.
	clockSlack = 5 * time.Second
	// leap is how far an event may be dated before the one in front of it: each is
	// dated a moment before its commit, by whichever process makes it.
	leap = time.Minute
	// recent is how long a leap of the clock is worth a finding.
	recent = 7 * 24 * time.Hour
)

// LogReader is the part of a store that History reads.
type LogReader interface {
	Log(ctx context.Context, f func(store.LogEntry) error) error
	Extent(ctx context.Context) (history.Extent, error)
}

// History reads the whole log and makes its tree anew: whether an event is missing,
// or was edited, or hides from those who look for it; and what the events' dates say
// of the clock. It answers what the events say of key-encryption keys, too, nil if they
// cannot be read, and shows all of them to retention.
func History(ctx context.Context, r LogReader, now time.Time, retention *Retention) ([]Finding, *rewrap.Lineage) {
	e := logExamination{lineage: &rewrap.Lineage{}, retention: retention}
	if err := r.Log(ctx, func(entry store.LogEntry) error {
		e.take(entry)
		return ctx.Err()
	}); err != nil {
		return []Finding{historySequence.fail("", err.Error(), restore)}, nil
	}
	extent, err := r.Extent(ctx)
	return append(e.whole(extent, err), e.columnsFinding(), e.clock(now)), e.lineage
}

type logExamination struct {
	tree history.Tree
	// last is the number of the event before.
	last uint64
	// gap is the first number that is missing, 0 if none is; after is the next there.
	gap, after uint64
	// taken counts the events of which only the leaf is left, and leafless is the first
	// of which not even that is. pruning is what the history says about them.
	taken, leafless uint64
	pruning         history.Pruning
	// misnumbered is the first event whose bytes have another number than its row.
	misnumbered uint64
	// edited are the events whose leaf in the tree is not that of their bytes.
	edited []uint64
	// inner is the first event that completes a subtree which the tree has otherwise.
	inner uint64
	// hidden are the events whose columns differ from their bytes, and the first
	// column of each.
	hidden []string
	// unread are the events that cannot be decoded, newer those of a newer build.
	unread, newer []uint64

	newest, before time.Time
	newestSeq      uint64
	// leapt is the last event that is dated long before the one in front of it.
	leapt struct {
		seq  uint64
		by   time.Duration
		time time.Time
	}
	lineage   *rewrap.Lineage
	retention *Retention
}

func (e *logExamination) take(entry store.LogEntry) {
	if entry.Seq != e.last+1 && e.gap == 0 {
		e.gap, e.after = e.last+1, entry.Seq
	}
	e.last = entry.Seq
	if e.gap == 0 {
		e.compare(entry)
	}
	if entry.Bytes == nil {
		e.taken++
		return
	}
	event, err := history.Decode(entry.Bytes)
	switch {
	case errors.Is(err, history.ErrSchema):
		e.newer = append(e.newer, entry.Seq)
		return
	case err != nil:
		e.unread = append(e.unread, entry.Seq)
		return
	}
	if event.Seq != entry.Seq && e.misnumbered == 0 {
		e.misnumbered = entry.Seq
	}
	if column := firstDifference(event, entry.Columns); column != "" {
		e.hidden = append(e.hidden, fmt.Sprintf("event %d has another %s", entry.Seq, column))
	}
	if event.Type == history.Pruned {
		if e.pruning, err = history.ReadPruning(event); err != nil {
			e.unread = append(e.unread, entry.Seq)
		}
	}
	e.date(entry.Seq, event.Time)
	e.lineage.Add(event)
	e.retention.add(event)
}

// compare looks whether the tree has what the bytes make. An edited leaf shows in
// every hash above it, which says nothing new.
func (e *logExamination) compare(entry store.LogEntry) {
	if e.leafless != 0 {
		return // there is no tree to compare with any more
	}
	if entry.Bytes == nil && len(entry.Hashes) == 0 {
		e.leafless = entry.Seq
		return
	}
	var want []tlog.Hash
	if entry.Bytes == nil {
		want = e.tree.AppendLeaf(entry.Hashes[0])
	} else {
		want = e.tree.Append(entry.Bytes)
	}
	switch {
	case len(entry.Hashes) == 0 || entry.Hashes[0] != want[0]:
		e.edited = append(e.edited, entry.Seq)
	case !slices.Equal(entry.Hashes, want) && e.inner == 0:
		e.inner = entry.Seq
	}
}

// firstDifference names the first column that is not what the event says.
func firstDifference(event, columns history.Event) string {
	switch {
	case event.Key != columns.Key:
		return "key"
	case event.Version != columns.Version:
		return "version"
	case event.Type != columns.Type:
		return "type"
	case event.Reason != columns.Reason:
		return "reason"
	case event.Actor != columns.Actor:
		return "actor"
	case !event.Time.Equal(columns.Time):
		return "time"
	default:
		return ""
	}
}

func (e *logExamination) date(seq uint64, at time.Time) {
	if by := e.before.Sub(at); by > leap {
		e.leapt.seq, e.leapt.by, e.leapt.time = seq, by, at
	}
	if e.before = at; at.After(e.newest) {
		e.newest, e.newestSeq = at, seq
	}
}

// whole says whether all events are there, and are those that the tree has.
func (e *logExamination) whole(log history.Extent, err error) []Finding {
	const who = "find out who changed the database; " + restore
	switch {
	case e.gap != 0:
		return []Finding{
			historySequence.fail("", fmt.Sprintf("event %d is missing: the next one there is %d", e.gap, e.after), who),
			historyTree.skip("", "an event is missing"),
		}
	case err != nil:
		return []Finding{historySequence.ok("", "%s without a gap", count(e.last, "event")), historyTree.fail("", err.Error(), restore)}
	case log.Size != e.last:
		return []Finding{
			historySequence.fail("", fmt.Sprintf("the store counts %s, and %d are there", count(log.Size, "event"), e.last), who),
			historyTree.skip("", "events are missing, or too many"),
		}
	default:
		return []Finding{e.sequence(log, who), e.treeFinding(log.Root, who)}
	}
}

// sequence is about the numbers of a log without a gap, and about what retention has
// taken from it. Who can delete an event cannot have it counted among those.
func (e *logExamination) sequence(log history.Extent, who string) Finding {
	switch {
	case e.misnumbered != 0:
		return historySequence.fail("", fmt.Sprintf("the bytes of event %d have another number", e.misnumbered), who)
	case e.taken != e.pruning.Total:
		return historySequence.fail("", fmt.Sprintf("%s without its bytes, and by the history retention has taken %d", count(e.taken, "event"), e.pruning.Total), who)
	case log.Pruned != e.pruning.Through:
		return historySequence.fail("", fmt.Sprintf("the store lets events up to %d be missing, and by the history retention has come to %d", log.Pruned, e.pruning.Through), who)
	case e.taken > 0:
		return historySequence.ok("", "%s without a gap; retention has taken %d of the first %d, and left their leaves", count(log.Size, "event"), e.taken, log.Pruned)
	default:
		return historySequence.ok("", "%s without a gap", count(log.Size, "event"))
	}
}

func (e *logExamination) treeFinding(root tlog.Hash, who string) Finding {
	switch {
	case e.leafless != 0:
		return historyTree.fail("", fmt.Sprintf("event %d was taken by retention, and its leaf is missing", e.leafless), who)
	case len(e.edited) > 0:
		return historyTree.fail("", fmt.Sprintf("the bytes of event %s do not make the leaf that the tree has: event or tree was edited", some(e.edited)), who)
	case e.inner != 0:
		return historyTree.fail("", fmt.Sprintf("the tree was edited: a hash that event %d completes is not that of the events below it", e.inner), who)
	case root != e.tree.Root():
		return historyTree.fail("", fmt.Sprintf("the events make the root %v, and the tree has %v", e.tree.Root(), root), who)
	default:
		return historyTree.ok("", "the events make the tree that is stored, root %v", root)
	}
}

func (e *logExamination) columnsFinding() Finding {
	switch {
	case len(e.unread) > 0:
		return historyColumns.fail("", "no event can be read in the bytes of event "+some(e.unread), restore)
	case len(e.hidden) > 0:
		return historyColumns.fail("", fmt.Sprintf("%s than its bytes, so it hides from some who look for it (%s like this)",
			e.hidden[0], count(len(e.hidden), "event")), "find out who changed the database; "+restore)
	case len(e.newer) > 0:
		return historyColumns.warn("", fmt.Sprintf("event %s was written by a newer build, and cannot be compared", some(e.newer)), "use that build or a newer one")
	default:
		return historyColumns.ok("", "every event is found by what its bytes say")
	}
}

// clock compares the dates of events with one another and with this machine's time,
// by which claims and leases expire.
func (e *logExamination) clock(now time.Time) Finding {
	const set = "set this machine's clock (e.g. `timedatectl status`): claims and leases expire by it"
	ahead := e.newest.Sub(now)
	switch {
	case e.newestSeq == 0:
		return historyClock.ok("", "there is no event yet")
	case ahead > clockSlack:
		return historyClock.fail("", fmt.Sprintf("event %d is dated %s, which is %s ahead of this machine's clock",
			e.newestSeq, timeText(e.newest), ageText(ahead)), set)
	case e.leapt.seq != 0 && now.Sub(e.leapt.time) < recent:
		return historyClock.warn("", fmt.Sprintf("event %d is dated %s, which is %s before the one in front of it: the clock was set back",
			e.leapt.seq, timeText(e.leapt.time), ageText(e.leapt.by)), set)
	default:
		return historyClock.ok("", "the newest event is of %s", timeText(e.newest))
	}
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// some lists the first few numbers.
func some(numbers []uint64) string {
	const most = 3
	var list []string
	for _, n := range numbers[:min(len(numbers), most)] {
		list = append(list, fmt.Sprint(n))
	}
	text := strings.Join(list, ", ")
	if more := len(numbers) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
