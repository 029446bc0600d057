"""The MLPerf Tiny device-under-test protocol: dialogue (lines in step), grammar, loading of inputs, results.

MLPerf is a trademark of MLCommons; what is measured over this protocol here is no MLPerf result.
Source: github.com/mlcommons/tiny, benchmark/api and benchmark/runner (Apache-2.0).
"""
