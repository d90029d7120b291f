using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>One SQLite connection. Used by one thread at a time; who that is, is the owner's business.</summary>
internal sealed unsafe class SqliteConnection : IDisposable
{
    private readonly List<SqliteStatement> _statements = [];
    private nint _database;

    private SqliteConnection(nint database) => _database = database;

    /// <summary>SQLite's handle.</summary>
    public nint Handle => _database;

    /// <summary>Opens the file, creating it if there is none.</summary>
    public static SqliteConnection Open(string path)
    {
        nint database;
        int code;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            code = SqliteNative.Open(name, &database, SqliteNative.OpenReadWrite | SqliteNative.OpenCreate | SqliteNative.OpenNoMutex, null);
        }

        if (code != SqliteNative.Ok)
        {
            string message = database == 0 ? "out of memory" : Message(database);
            SqliteNative.Close(database);
            throw new SqliteException(code, message);
        }

        SqliteNative.ExtendedResultCodes(database, 1);
        return new SqliteConnection(database);
    }

    /// <summary>Prepares a statement that lives as long as the connection.</summary>
    public SqliteStatement Prepare(string sql)
    {
        nint statement;
        byte[] text = Encoding.UTF8.GetBytes(sql);
        fixed (byte* first = text)
        {
            Check(SqliteNative.Prepare(_database, first, text.Length, SqliteNative.PreparePersistent, &statement, null));
        }

        var prepared = new SqliteStatement(this, statement);
        _statements.Add(prepared);
        return prepared;
    }

    /// <summary>Runs one or more statements to their end, passing over any rows.</summary>
    public void Execute(string sql)
    {
        byte[] text = Encoding.UTF8.GetBytes(sql);
        fixed (byte* first = text)
        {
            byte* next = first;
            byte* end = first + text.Length;
            while (next < end)
            {
                nint statement;
                byte* tail;
                Check(SqliteNative.Prepare(_database, next, (int)(end - next), 0, &statement, &tail));
                next = tail;
                if (statement == 0)
                {
                    continue;
                }

                int code;
                do
                {
                    code = SqliteNative.Step(statement);
                }
                while (code == SqliteNative.Row);

                SqliteException? fault = code == SqliteNative.Done ? null : Fault(code);
                SqliteNative.Finalize(statement);
                if (fault is not null)
                {
                    throw fault;
                }
            }
        }
    }

    /// <summary>The first column of the first row as a number, or null without a row.</summary>
    public long? QueryInt64(string sql)
    {
        using SqliteStatement statement = Prepare(sql);
        return statement.Step() ? statement.Int64(0) : null;
    }

    /// <summary>Runs a PRAGMA that takes a number.</summary>
    public void Pragma(string name, long value) => Execute(string.Create(CultureInfo.InvariantCulture, $"PRAGMA {name}={value}"));

    /// <summary>Rolls back if a transaction is open; SQLite has sometimes done so by itself.</summary>
    public void RollbackIfOpen()
    {
        foreach (SqliteStatement statement in _statements)
        {
            statement.Reset();
        }

        if (SqliteNative.GetAutocommit(_database) == 0)
        {
            Execute("ROLLBACK");
        }
    }

    internal void Check(int code)
    {
        if (code != SqliteNative.Ok)
        {
            throw Fault(code);
        }
    }

    internal SqliteException Fault(int code) => new(code, Message(_database));

    internal void Forget(SqliteStatement statement) => _statements.Remove(statement);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_database == 0)
        {
            return;
        }

        foreach (SqliteStatement statement in _statements.ToArray())
        {
            statement.Dispose();
        }

        SqliteNative.Close(_database);
        _database = 0;
    }

    private static string Message(nint database) => Marshal.PtrToStringUTF8((nint)SqliteNative.ErrorMessage(database)) ?? "unknown error";
}

/// <summary>A prepared statement. Bind from 1, step, read columns from 0, reset; a statement that was stepped to a row holds its snapshot until it is reset.</summary>
internal sealed unsafe class SqliteStatement(SqliteConnection connection, nint handle) : IDisposable
{
    private static readonly byte[] EmptyBlob = GC.AllocateArray<byte>(1, pinned: true);

    /// <summary>Binds a number.</summary>
    public SqliteStatement Bind(int index, long value)
    {
        Check(SqliteNative.BindInt64(handle, index, value));
        return this;
    }

    /// <summary>Binds bytes; SQLite takes a copy.</summary>
    public SqliteStatement Bind(int index, ReadOnlySpan<byte> value)
    {
        // A null pointer would bind NULL, and an empty span has one.
        fixed (byte* first = value.IsEmpty ? EmptyBlob : value)
        {
            Check(SqliteNative.BindBlob(handle, index, first, value.Length, SqliteNative.Transient));
        }

        return this;
    }

    /// <summary>Binds a version id as its 16 bytes.</summary>
    public SqliteStatement Bind(int index, Grains.VersionId value)
    {
        Span<byte> bytes = stackalloc byte[16];
        Records.Ids.Write(bytes, value.High, value.Low);
        return Bind(index, bytes);
    }

    /// <summary>Binds text given as UTF-8 bytes.</summary>
    public SqliteStatement BindText(int index, ReadOnlySpan<byte> utf8)
    {
        fixed (byte* first = utf8.IsEmpty ? EmptyBlob : utf8)
        {
            Check(SqliteNative.BindText(handle, index, first, utf8.Length, SqliteNative.Transient));
        }

        return this;
    }

    /// <summary>Binds text.</summary>
    public SqliteStatement BindText(int index, string text) => BindText(index, Encoding.UTF8.GetBytes(text));

    /// <summary>Binds NULL.</summary>
    public SqliteStatement BindNull(int index)
    {
        Check(SqliteNative.BindNull(handle, index));
        return this;
    }

    /// <summary>To the next row; false behind the last.</summary>
    public bool Step()
    {
        int code = SqliteNative.Step(handle);
        return code switch
        {
            SqliteNative.Row => true,
            SqliteNative.Done => false,
            _ => throw Failed(code),
        };
    }

    /// <summary>Runs a statement that gives no row, and resets it.</summary>
    public void Run()
    {
        int code = SqliteNative.Step(handle);
        if (code is not (SqliteNative.Done or SqliteNative.Row))
        {
            throw Failed(code);
        }

        SqliteNative.Reset(handle);
    }

    /// <summary>Ends the run and with it the snapshot. What is bound stays bound.</summary>
    public void Reset() => SqliteNative.Reset(handle);

    /// <summary>A column as a number.</summary>
    public long Int64(int column) => SqliteNative.ColumnInt64(handle, column);

    /// <summary>True for a NULL column.</summary>
    public bool IsNull(int column) => SqliteNative.ColumnType(handle, column) == 5;

    /// <summary>A column's bytes, valid until the next step or reset.</summary>
    public ReadOnlySpan<byte> Blob(int column)
    {
        byte* first = SqliteNative.ColumnBlob(handle, column);
        return new ReadOnlySpan<byte>(first, SqliteNative.ColumnBytes(handle, column));
    }

    /// <summary>A text column.</summary>
    public string Text(int column) => Encoding.UTF8.GetString(Blob(column));

    /// <summary>A version id column.</summary>
    public Grains.VersionId VersionId(int column)
    {
        ReadOnlySpan<byte> bytes = Blob(column);
        if (bytes.Length != 16)
        {
            throw new MetadataRecordException("A version id in the database is not 16 bytes long.");
        }

        (ulong high, ulong low) = Records.Ids.Read(bytes);
        return new Grains.VersionId(high, low);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (handle != 0)
        {
            SqliteNative.Finalize(handle);
            handle = 0;
            connection.Forget(this);
        }
    }

    private void Check(int code)
    {
        if (code != SqliteNative.Ok)
        {
            throw Failed(code);
        }
    }

    private SqliteException Failed(int code)
    {
        SqliteException fault = connection.Fault(code);
        SqliteNative.Reset(handle);
        return fault;
    }
}
