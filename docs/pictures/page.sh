#!/usr/bin/env bash
# Draws page.svg, the picture of the README: the way of one page. It is light or dark as its reader's system is.
#
#   docs/pictures/page.sh > docs/pictures/page.svg
set -euo pipefail

box() { # X Y WIDTH CLASS TITLE LINE
  cat <<EOF
  <rect class="$4" x="$1" y="$2" width="$3" height="64" rx="8"/>
  <text class="title" x="$(($1 + $3 / 2))" y="$(($2 + 28))">$5</text>
  <text class="small" x="$(($1 + $3 / 2))" y="$(($2 + 48))">$6</text>
EOF
}

arrow() { # CLASS PATH LABEL X Y
  echo "  <path class=\"$1\" d=\"$2\" marker-end=\"url(#$1)\"/>"
  [ -z "$3" ] || echo "  <text class=\"label\" x=\"$4\" y=\"$5\">$3</text>"
}

cat <<'EOF'
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 300" role="img" aria-label="A page leaves the pool, carries a packet through device and program, and comes back to the same pool">
  <style>
    svg { --ink: #1f2328; --soft: #59636e; --line: #8c959f; --box: #f6f8fa; --pool: #ddf4ff; --full: #0969da; --empty: #1a7f37; }
    @media (prefers-color-scheme: dark) {
      svg { --ink: #f0f6fc; --soft: #9198a1; --line: #656c76; --box: #151b23; --pool: #0c2d4a; --full: #4493f8; --empty: #3fb950; }
    }
    text { font-family: system-ui, sans-serif; fill: var(--ink); text-anchor: middle; }
    .title { font-size: 17px; font-weight: 600; }
    .small, .label { font-size: 13px; fill: var(--soft); }
    rect { fill: var(--box); stroke: var(--line); }
    rect.pool { fill: var(--pool); }
    path { fill: none; stroke-width: 2.5; }
    .full { stroke: var(--full); }
    .empty { stroke: var(--empty); stroke-dasharray: 7 5; }
    marker path { stroke: none; }
    #full path { fill: var(--full); }
    #empty path { fill: var(--empty); }
  </style>
  <defs>
    <marker id="full" markerWidth="8" markerHeight="8" refX="6" refY="4" orient="auto" markerUnits="userSpaceOnUse" viewBox="0 0 8 8"><path d="M0 0 8 4 0 8z"/></marker>
    <marker id="empty" markerWidth="8" markerHeight="8" refX="6" refY="4" orient="auto" markerUnits="userSpaceOnUse" viewBox="0 0 8 8"><path d="M0 0 8 4 0 8z"/></marker>
  </defs>
EOF
box 10 118 160 pool "Pool of eth0" "pages, mapped once"
box 230 118 140 box "eth0 receives" "a packet per page"
box 425 118 130 box "Program" "one call a batch"
box 640 16 220 box "eth1 sends" "the same page, no copy"
box 640 118 220 box "Your threads keep it" "shared, for as long as they like"
box 640 220 220 box "Dropped" "by the program, on the spot"
arrow empty "M170 150 H226" "" 0 0
arrow full "M370 150 H421" "" 0 0
arrow full "M555 150 C600 150 590 48 634 48" "" 0 0
arrow full "M555 150 H634" "" 0 0
arrow full "M555 150 C600 150 590 252 634 252" "" 0 0
arrow empty "M640 62 C540 92 260 20 110 112" "home, from whatever thread drops it last" 330 44
arrow empty "M640 272 C480 296 160 300 90 188" "home, without an atomic operation" 345 258
cat <<'EOF'
  <path class="empty" d="M750 118 V82"/>
  <path class="full" d="M20 24 H60"/>
  <text class="label" x="112" y="28">with a packet</text>
  <path class="empty" d="M20 48 H60"/>
  <text class="label" x="92" y="52">empty</text>
</svg>
EOF
