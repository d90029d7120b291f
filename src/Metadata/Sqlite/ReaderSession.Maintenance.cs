using System.Collections.Immutable;
using System.Text;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <content>What the background plane keeps.</content>
internal sealed partial class ReaderSession
{
    internal ImmutableArray<RepairEntry> ListRepairs(long nowUnixMs, int maxRepairs)
    {
        // One value of spare after the other, of which there are few: so that the many that are not due yet, as after an hour without a drive, are not read through.
        ImmutableArray<RepairEntry>.Builder found = ImmutableArray.CreateBuilder<RepairEntry>();
        long spare = long.MinValue;
        while (found.Count < maxRepairs && NextSpare(ref spare))
        {
            found.AddRange(Rows(_repairs.Bind(1, spare).Bind(2, nowUnixMs).Bind(3, maxRepairs - found.Count), RepairRows.Read));
        }

        return found.DrainToImmutable();
    }

    private bool NextSpare(ref long spare)
    {
        bool found = _nextSpare.Bind(1, spare).Step();
        spare = found ? _nextSpare.Int64(0) : spare;
        _nextSpare.Reset();
        return found;
    }

    internal long CountRepairs(long writtenByUnixMs)
    {
        long count = _repairCount.Bind(1, writtenByUnixMs).Step() ? _repairCount.Int64(0) : 0;
        _repairCount.Reset();
        return count;
    }

    internal ImmutableArray<MaintenanceCursor> ListCursors(string prefix)
    {
        byte[] from = Encoding.UTF8.GetBytes(prefix);
        return Rows(_cursors.BindText(1, from).BindText(2, ObjectKeys.PrefixSuccessor(from)), row => new MaintenanceCursor(row.Text(0), row.Blob(1).ToArray()));
    }

    internal ExtentSearchPage SearchExtents(ExtentSearch search) => _searcher.Search(search);

    internal ImmutableArray<ExtentUse> FindExtents(ImmutableArray<ExtentReference> extents)
    {
        // One snapshot: between two, an upload's completion could move a part to where has been looked already.
        _connection.Execute("BEGIN");
        try
        {
            return [.. extents.Select(_extents.Find)];
        }
        finally
        {
            _connection.RollbackIfOpen();
        }
    }
}
