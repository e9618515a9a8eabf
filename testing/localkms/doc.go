// Package localkms has no code but tests: the second opinion of local-kms
// (github.com/nsmithuk/local-kms, MIT), an emulator of AWS KMS by somebody else, on the
// provider that our own fake was written for. What the two read alike in AWS's
// documentation is less likely to be a misunderstanding of ours.
package localkms
