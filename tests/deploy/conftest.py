"""The page that is served for all tests of it."""

from demo_page import served as served
