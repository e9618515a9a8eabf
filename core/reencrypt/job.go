package reencrypt

import (
	"bufio"
	"context"
)

// Job re-encrypts files. Keys is required.
type Job struct {
	Keys Keys
	// AAD is what the tokens were encrypted with; one job, one AAD.
	AAD []byte
	// DryRun does everything, decryption included, but write.
	DryRun bool
	// Progress, if set, is called after each read and each file.
	Progress func(Progress)
}

// Run re-encrypts the tokens in the files at and below the paths. What fails for
// one token or one file is in the report and does not stop the rest. The error
// is the context's: then the report says what was done until then, and the file
// that was being processed is as it was.
func (j *Job) Run(ctx context.Context, paths []string) (Report, error) {
	r := runner{
		Job:  j,
		tour: newTour(j.Progress, !j.DryRun),
		out:  bufio.NewWriterSize(nil, chunkSize),
	}
	err := r.tour.run(ctx, paths, r.file)
	return Report{
		Files: r.tour.files, Tokens: r.tokens, Reencrypted: r.reencrypted,
		Failed: r.tour.failed, Skipped: r.tour.skipped, DryRun: j.DryRun,
	}, err
}

// runner is a job under way. Its buffers serve one file after the other.
type runner struct {
	*Job
	tour                *tour
	out                 *bufio.Writer
	token               []byte
	tokens, reencrypted int
}

// file rewrites one file, if it holds a token that changes.
func (r *runner) file(ctx context.Context, src *source, scan *scanner) error {
	w := rewrite{runner: r, src: src}
	err := w.copy(ctx, scan)
	if ctx.Err() != nil {
		w.abandon()
		return ctx.Err()
	}
	if err == nil && w.dst != nil {
		err = w.dst.commit()
	} else {
		w.abandon()
	}
	r.tokens += w.tokens
	if err == nil {
		r.reencrypted += w.reencrypted
	}
	r.tour.fail(w.failed.all(src.path)...)
	return err
}

// rewrite is one file under way.
type rewrite struct {
	*runner
	src *source
	// dst is nil until the first token changes.
	dst *replacement
	// offset is how much of the source was dealt with.
	offset              int64
	tokens, reencrypted int
	failed              failures
}

// copy goes through the file and begins a replacement where that is needed.
func (w *rewrite) copy(ctx context.Context, scan *scanner) error {
	for {
		p, err := scan.next()
		if atEnd(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if scan.nul {
			return w.binary(scan, p)
		}
		if err := w.piece(ctx, p); err != nil {
			return err
		}
	}
}

// piece passes a piece on, renewed if it is a token that changes.
func (w *rewrite) piece(ctx context.Context, p piece) error {
	content := p.bytes
	switch p.kind {
	case text:
	case lookalike:
		w.tokens++
		w.refuse(p, p.err)
	case token:
		w.tokens++
		var err error
		if content, err = w.renew(ctx, p); err != nil {
			return err
		}
	}
	w.offset += int64(len(p.bytes))
	if w.dst == nil {
		return nil
	}
	return w.dst.write(content)
}

// renew answers what a token is replaced by: itself, where the keys refuse it or
// have nothing to change.
func (w *rewrite) renew(ctx context.Context, p piece) ([]byte, error) {
	out, changed, err := w.Keys.Reencrypt(ctx, w.token[:0], p.bytes, w.AAD)
	if cap(out) <= chunkSize { // a giant's buffer is not kept
		w.token = out
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		w.refuse(p, err)
		return p.bytes, nil
	case !changed:
		return p.bytes, nil
	}
	w.reencrypted++
	return out, w.begin(ctx)
}

func (w *rewrite) refuse(p piece, err error) {
	w.failed.add(tokenFailure(w.src.path, p.line, err))
}

// begin makes sure that there is a replacement to write to, unless this is a dry
// run.
func (w *rewrite) begin(ctx context.Context) error {
	if w.dst != nil || w.DryRun {
		return nil
	}
	var err error
	w.dst, err = w.src.replace(ctx, w.offset, w.out)
	return err
}

// binary gives the rewrite up from p on, and only counts what is left.
func (w *rewrite) binary(scan *scanner, p piece) error {
	w.abandon()
	w.failed, w.reencrypted = failures{}, 0
	var err error
	for ; err == nil; p, err = scan.next() {
		if p.kind != text {
			w.tokens++
		}
	}
	if !atEnd(err) {
		return err
	}
	if w.tokens == 0 {
		w.tour.skip(w.src.path, ReasonBinary)
		return nil
	}
	w.failed.add(binaryFailure(w.src.path, w.tokens))
	return nil
}

func (w *rewrite) abandon() {
	if w.dst != nil {
		w.dst.discard()
		w.dst = nil
	}
}
