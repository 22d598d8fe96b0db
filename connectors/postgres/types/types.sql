The types of a database that are not known beforehand.

-- name: types
-- Enums, domains, ranges, extensions' base types and the arrays of all these; row types of tables only
-- where they are among %(oids)s, for every table has one. "element" is what this type is the array of.
select t.oid::int8,
       t.typname,
       n.nspname,
       t.typtype::text,
       e.oid::int8 as element,
       coalesce(e.typdelim, t.typdelim)::text as delimiter,
       nullif(t.typbasetype, 0)::int8 as base,
       t.typtypmod,
       array(select l.enumlabel::text
               from pg_catalog.pg_enum as l
              where l.enumtypid = t.oid
              order by l.enumsortorder) as labels,
       case when n.nspname in ('pg_catalog', 'public') then quote_ident(t.typname)
            else quote_ident(n.nspname) || '.' || quote_ident(t.typname) end as spelling
  from pg_catalog.pg_type as t
  join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
  left join pg_catalog.pg_type as e on e.typarray = t.oid
  left join pg_catalog.pg_class as c on c.oid = coalesce(e.typrelid, t.typrelid)
 where t.oid >= 16384 and coalesce(c.relkind, 'c') = 'c'
    or t.oid = any(%(oids)s::oid[])
    or t.oid in (select w.typelem from pg_catalog.pg_type as w where w.oid = any(%(oids)s::oid[]));

-- name: modifiers
-- The modifiers of types that are not built in, as they are written behind the type's name: those that
-- columns have, and those of %(oids)s with %(typmods)s.
select m.oid::int8,
       m.typmod,
       substr(format_type(m.oid, m.typmod), length(format_type(m.oid, -1)) + 1) as suffix
  from (select coalesce(e.oid, t.oid) as oid, a.atttypmod as typmod
          from pg_catalog.pg_attribute as a
          join pg_catalog.pg_type as t on t.oid = a.atttypid
          left join pg_catalog.pg_type as e on e.typarray = t.oid
         where a.atttypid >= 16384 and a.atttypmod <> -1
         union
        select t.typbasetype, t.typtypmod
          from pg_catalog.pg_type as t
         where t.typbasetype >= 16384 and t.typtypmod <> -1
         union
        select w.oid, w.typmod
          from unnest(%(oids)s::oid[], %(typmods)s::int4[]) as w (oid, typmod)) as m;
