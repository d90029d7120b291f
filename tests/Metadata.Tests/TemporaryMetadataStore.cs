using ObjectStore.Metadata.Sqlite;

namespace ObjectStore.Metadata.Tests;

/// <summary>
/// A store in a folder of its own that goes when it is disposed. Other test projects compile this file by a link:
/// <c>&lt;Compile Include="../Metadata.Tests/TemporaryMetadataStore.cs" Link="TemporaryMetadataStore.cs" /&gt;</c>.
/// </summary>
public sealed class TemporaryMetadataStore : IAsyncDisposable
{
    private TemporaryMetadataStore(string directory, SqliteMetadataStore store)
    {
        Directory = directory;
        Store = store;
    }

    public string Directory { get; }

    public SqliteMetadataStore Store { get; private set; }

    public static async Task<TemporaryMetadataStore> OpenAsync(Func<string, SqliteMetadataOptions>? options = null)
    {
        string directory = System.IO.Directory.CreateTempSubdirectory("objectstore-metadata-").FullName;
        return new TemporaryMetadataStore(directory, await SqliteMetadataStore.OpenAsync(options?.Invoke(directory) ?? new SqliteMetadataOptions { Directory = directory }));
    }

    /// <summary>Closes the store and opens it again over the same files.</summary>
    public async Task ReopenAsync()
    {
        await Store.DisposeAsync();
        Store = await SqliteMetadataStore.OpenAsync(new SqliteMetadataOptions { Directory = Directory });
    }

    public async ValueTask DisposeAsync()
    {
        await Store.DisposeAsync();
        System.IO.Directory.Delete(Directory, recursive: true);
    }
}
