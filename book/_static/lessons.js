/* The list of pages beside a page stays where the reader left it, and moves only so far that it shows this page. */

addEventListener("DOMContentLoaded", () => {
  const list = document.querySelector(".bd-sidebar-primary .sidebar-primary-item:has(.bd-links)");
  if (!list) return;
  const [key, room] = ["list-of-pages", 48];
  list.scrollTop = Number(sessionStorage.getItem(key));
  const here = [...list.querySelectorAll("li.current > a")].at(-1)?.getBoundingClientRect();
  const box = list.getBoundingClientRect();
  if (here && here.top < box.top) list.scrollTop -= box.top - here.top + room;
  if (here && here.bottom + room > box.bottom) list.scrollTop += here.bottom + room - box.bottom;
  addEventListener("pagehide", () => sessionStorage.setItem(key, String(list.scrollTop)));
});
