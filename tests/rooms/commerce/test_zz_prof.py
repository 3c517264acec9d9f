import time, re
from sqlalchemy import text
from tests.rooms.commerce.stand import *
from tests.services.databases import sqlalchemy_url
from shopkeeper.commerce.port import Sort
from shopkeeper.clock import SystemClock
async def test_x(postgres_dsn,monkeypatch):
  for analyze in (False,True):
    db=Database(sqlalchemy_url(postgres_dsn))
    try:
        t=time.perf_counter()
        import shopkeeper.commerce.embedded.load as l
        if not analyze: monkeypatch.setattr(l,"text",lambda s: text("select 1"))
        else: monkeypatch.undo()
        async with db.unit() as u:
            await load(u, store="north", catalogue=catalogue(*(product(f"p{n}", variant(f"P-{n}")) for n in range(1010))))
        print("load", time.perf_counter()-t,flush=True)
        st=Stand(db, EmbeddedEngine(SystemClock()))
        for s in Sort:
            t=time.perf_counter()
            await st.catalogue.find_products(guest(), limit=10, sort=s, text="p", category_id="pantry")
            print(s, time.perf_counter()-t,flush=True)
        t=time.perf_counter()
        await st.catalogue.variants(guest(), [f"P-{n}" for n in range(100)])
        print("var", time.perf_counter()-t,flush=True)
    finally:
        await db.close()
