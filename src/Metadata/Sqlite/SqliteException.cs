using System.Globalization;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>SQLite refused a call. It stays inside this folder: what leaves it is a <see cref="MetadataStoreException"/>.</summary>
internal sealed class SqliteException(int extendedCode, string message) : Exception(message)
{
    /// <summary>SQLite's extended result code.</summary>
    public int ExtendedCode { get; } = extendedCode;

    /// <summary>SQLite's primary result code.</summary>
    public int Code => ExtendedCode & 0xFF;

    /// <summary>True when the database's files, or the disk under them, cannot be trusted with another write.</summary>
    public bool IsFatalToWriter => Code is SqliteNative.IoError or SqliteNative.Corrupt or SqliteNative.NotADatabase or SqliteNative.CannotOpen;

    /// <summary>What callers of the store are told.</summary>
    public MetadataStoreException ToStoreException() => Code switch
    {
        SqliteNative.Full => new MetadataStoreFullException("The metadata database's disk is full, or the database has reached its size limit; nothing was changed.", this),
        SqliteNative.Corrupt or SqliteNative.NotADatabase => new MetadataStoreUnusableException($"The metadata database is damaged ({Message}): restore it from a backup.", this),
        _ => new MetadataStoreException(string.Create(CultureInfo.InvariantCulture, $"The metadata database failed: {Message} (SQLite code {ExtendedCode})."), this),
    };
}
