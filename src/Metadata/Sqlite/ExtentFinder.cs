using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>
/// Looks for what names an extent. Bytes are written for one version or one upload of a key, and only versions and uploads of that key ever come to name them; so the key's rows
/// are all that has to be read, and the one version that the bytes were written for is usually enough. Within one transaction, the caller's: an upload's completion
/// moves its parts into a version.
/// </summary>
internal sealed class ExtentFinder(SqliteConnection connection)
{
    private readonly SqliteStatement _versions = connection.Prepare("SELECT version_id, record FROM object_version WHERE bucket_id = ?1 AND object_key = ?2 ORDER BY sequence DESC");
    private readonly SqliteStatement _parts = connection.Prepare("SELECT record FROM upload_part WHERE upload_id = ?1");
    private readonly SqliteStatement _garbage = connection.Prepare("SELECT 1 FROM extent_garbage WHERE extent_high = ?1 AND extent_low = ?2 LIMIT 1");

    /// <summary>A record of the key that cannot be read may name the extent: then it counts as named, so that it is repaired and nothing of it is deleted.</summary>
    internal ExtentUse Find(ExtentReference extent)
    {
        try
        {
            if (IsNamedByVersion(extent) || IsNamedByPart(extent))
            {
                return ExtentUse.Named;
            }
        }
        catch (MetadataRecordException)
        {
            return ExtentUse.Named;
        }

        return IsGarbage(extent.ExtentHigh, extent.ExtentLow) ? ExtentUse.Garbage : ExtentUse.Unnamed;
    }

    internal bool IsGarbage(ulong extentHigh, ulong extentLow)
    {
        bool found = _garbage.Bind(1, unchecked((long)extentHigh)).Bind(2, unchecked((long)extentLow)).Step();
        _garbage.Reset();
        return found;
    }

    private bool IsNamedByVersion(ExtentReference extent)
    {
        // Ids first: to decode all versions of a key for each of its extents would cost the square of their number.
        for (int pass = 0; pass < 2; pass++)
        {
            _versions.Bind(1, extent.Bucket.Value).Bind(2, extent.KeyUtf8.Span);
            try
            {
                while (_versions.Step())
                {
                    if ((_versions.VersionId(0) == extent.Version) == (pass == 0) && Holds(MetadataRecords.DecodeVersion(_versions.Blob(1)), extent))
                    {
                        return true;
                    }
                }
            }
            finally
            {
                _versions.Reset();
            }
        }

        return false;
    }

    private bool IsNamedByPart(ExtentReference extent)
    {
        _parts.Bind(1, extent.Version);
        try
        {
            while (_parts.Step())
            {
                if (IsSame(MetadataRecords.DecodePart(_parts.Blob(0)), extent))
                {
                    return true;
                }
            }

            return false;
        }
        finally
        {
            _parts.Reset();
        }
    }

    private static bool Holds(ObjectVersion version, ExtentReference extent)
    {
        foreach (PartLayout part in version.Parts.AsSpan())
        {
            if (IsSame(part, extent))
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsSame(PartLayout part, ExtentReference extent) => part.ExtentHigh == extent.ExtentHigh && part.ExtentLow == extent.ExtentLow;
}
