package reencrypt

import "context"

// tour leads a visitor over the files of a run and keeps the books that a
// re-encryption and a census have in common.
type tour struct {
	progress func(Progress)
	at       Progress
	// sweep: remove what killed runs left behind.
	sweep   bool
	scan    *scanner
	files   int
	failed  []Failure
	skipped []Skip
}

// visitor handles one file. It reads it through scan, and fails if the file, or
// what was meant to happen to it, failed as a whole.
type visitor func(ctx context.Context, src *source, scan *scanner) error

func newTour(progress func(Progress), sweep bool) *tour {
	return &tour{
		progress: progress, sweep: sweep, scan: newScanner(),
		failed: []Failure{}, skipped: []Skip{},
	}
}

// run visits each file. It fails only if the context ends.
func (t *tour) run(ctx context.Context, paths []string, visit visitor) error {
	if t.progress != nil {
		if err := t.measure(ctx, paths); err != nil {
			return err
		}
	}
	for e := range walk(paths) {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch e.kind {
		case fileEntry:
			if err := t.file(ctx, e.path, visit); err != nil {
				return err
			}
		case temporaryEntry:
			t.leftover(e.path)
		case skippedEntry:
			t.skip(e.path, e.reason)
		case failedEntry:
			t.fail(fileFailure(e.path, e.err))
		}
	}
	return ctx.Err()
}

// measure finds out how much there is to do.
func (t *tour) measure(ctx context.Context, paths []string) error {
	for e := range walk(paths) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.kind != fileEntry {
			continue
		}
		if info, err := e.stat(); err == nil {
			t.at.TotalFiles++
			t.at.TotalBytes += info.Size()
		}
	}
	t.tell()
	return nil
}

// file visits one file. Only the end of the context ends the tour.
func (t *tour) file(ctx context.Context, path string, visit visitor) error {
	t.at.File = path
	src, reason, err := openSource(path)
	if src != nil {
		t.files++
		err = t.visit(ctx, src, visit)
		src.Close()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		t.fail(fileFailure(path, err))
	case reason != "":
		t.skip(path, reason)
	}
	t.at.Files++
	t.tell()
	return nil
}

func (t *tour) visit(ctx context.Context, src *source, visit visitor) error {
	t.scan.reset(&meter{ctx: ctx, src: src.file, read: func(n int) {
		t.at.Bytes += int64(n)
		t.tell()
	}})
	return visit(ctx, src, t.scan)
}

func (t *tour) leftover(path string) {
	if !t.sweep {
		return
	}
	if err := removeLeftover(path); err != nil {
		t.fail(fileFailure(path, err))
	}
}

func (t *tour) tell() {
	if t.progress != nil {
		t.progress(t.at)
	}
}

func (t *tour) fail(f ...Failure)        { t.failed = append(t.failed, f...) }
func (t *tour) skip(path, reason string) { t.skipped = append(t.skipped, Skip{path, reason}) }
