"""The mechanisms of the course, each written once.

The lessons, the solved notebooks, the site, the instruments and the benchmarks all take them from here.
"""
