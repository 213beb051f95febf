//go:build tools

// Package tools pins actionlint as an ordinary Go tool dependency.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
